declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)

define void @tile(ptr %a, ptr %b, ptr %c, i64 %blocks, i64 %block_bytes) nounwind {
entry:
  %s1 = alloca <4 x float>, i64 1, align 8
  %s2 = alloca <4 x float>, i64 1, align 8
  %s3 = alloca ptr, i64 1, align 8
  %s4 = alloca ptr, i64 1, align 8
  store <4 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, ptr %s1, align 4
  store <4 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, ptr %s2, align 4
  store ptr %a, ptr %s3, align 8
  store ptr %b, ptr %s4, align 8
  %v5 = mul nsw i64 %blocks, 64
  br label %enter6
enter6:
  br label %loop7
loop7:
  %i10 = phi i64 [ 0, %enter6 ], [ %n11, %next12 ]
  %v13 = icmp slt i64 %i10, %blocks
  br i1 %v13, label %body8, label %done9
body8:
  %v14 = load ptr, ptr %s3, align 8
  %v15 = load ptr, ptr %s3, align 8
  %v16 = getelementptr i8, ptr %v15, i64 %block_bytes
  br label %enter17
enter17:
  br label %loop18
loop18:
  %i21 = phi i64 [ 0, %enter17 ], [ %n22, %next23 ]
  %v24 = icmp slt i64 %i21, 4
  br i1 %v24, label %body19, label %done20
body19:
  %v25 = load ptr, ptr %s4, align 8
  %v26 = mul nsw i64 %i21, 16
  %v27 = getelementptr i8, ptr %v16, i64 %v26
  %v28 = getelementptr i8, ptr %v27, i64 0
  call void @llvm.prefetch.p0(ptr %v28, i32 0, i32 3, i32 1)
  %v29 = mul nsw i64 %i21, 16
  %v30 = getelementptr i8, ptr %v16, i64 %v29
  %v31 = getelementptr i8, ptr %v30, i64 16
  call void @llvm.prefetch.p0(ptr %v31, i32 0, i32 3, i32 1)
  %v32 = getelementptr i8, ptr %v25, i64 %v5
  %v33 = getelementptr i8, ptr %v32, i64 0
  call void @llvm.prefetch.p0(ptr %v33, i32 0, i32 2, i32 1)
  %v34 = mul nsw i64 %i21, 4
  %v35 = getelementptr i8, ptr %v14, i64 %v34
  %v36 = getelementptr i8, ptr %v35, i64 0
  %v37 = getelementptr i8, ptr %v25, i64 0
  %v38 = getelementptr i8, ptr %v37, i64 0
  %v39 = load <4 x float>, ptr %v38, align 4
  %v40 = getelementptr i8, ptr %v36, i64 0
  %v41 = load float, ptr %v40, align 4
  %v42 = insertelement <4 x float> poison, float %v41, i64 0
  %v43 = shufflevector <4 x float> %v42, <4 x float> poison, <4 x i32> zeroinitializer
  %v44 = load <4 x float>, ptr %s1, align 4
  %v45 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v43, <4 x float> %v39, <4 x float> %v44)
  %v46 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v45)
  store <4 x float> %v46, ptr %s1, align 4
  %v47 = getelementptr i8, ptr %v36, i64 16
  %v48 = load float, ptr %v47, align 4
  %v49 = insertelement <4 x float> poison, float %v48, i64 0
  %v50 = shufflevector <4 x float> %v49, <4 x float> poison, <4 x i32> zeroinitializer
  %v51 = load <4 x float>, ptr %s2, align 4
  %v52 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v50, <4 x float> %v39, <4 x float> %v51)
  %v53 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v52)
  store <4 x float> %v53, ptr %s2, align 4
  %v54 = mul nsw i64 %i21, 4
  %v55 = getelementptr i8, ptr %v14, i64 %v54
  %v56 = getelementptr i8, ptr %v55, i64 4
  %v57 = getelementptr i8, ptr %v25, i64 16
  %v58 = getelementptr i8, ptr %v57, i64 0
  %v59 = load <4 x float>, ptr %v58, align 4
  %v60 = getelementptr i8, ptr %v56, i64 0
  %v61 = load float, ptr %v60, align 4
  %v62 = insertelement <4 x float> poison, float %v61, i64 0
  %v63 = shufflevector <4 x float> %v62, <4 x float> poison, <4 x i32> zeroinitializer
  %v64 = load <4 x float>, ptr %s1, align 4
  %v65 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v63, <4 x float> %v59, <4 x float> %v64)
  %v66 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v65)
  store <4 x float> %v66, ptr %s1, align 4
  %v67 = getelementptr i8, ptr %v56, i64 16
  %v68 = load float, ptr %v67, align 4
  %v69 = insertelement <4 x float> poison, float %v68, i64 0
  %v70 = shufflevector <4 x float> %v69, <4 x float> poison, <4 x i32> zeroinitializer
  %v71 = load <4 x float>, ptr %s2, align 4
  %v72 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v70, <4 x float> %v59, <4 x float> %v71)
  %v73 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v72)
  store <4 x float> %v73, ptr %s2, align 4
  %v74 = getelementptr i8, ptr %v25, i64 32
  store ptr %v74, ptr %s4, align 8
  br label %next23
next23:
  %n22 = add nsw i64 %i21, 2
  br label %loop18
done20:
  store ptr %v16, ptr %s3, align 8
  br label %next12
next12:
  %n11 = add nsw i64 %i10, 1
  br label %loop7
done9:
  %v75 = load <4 x float>, ptr %s1, align 4
  %v76 = getelementptr i8, ptr %c, i64 0
  store <4 x float> %v75, ptr %v76, align 4
  %v77 = load <4 x float>, ptr %s2, align 4
  %v78 = getelementptr i8, ptr %c, i64 16
  store <4 x float> %v77, ptr %v78, align 4
  ret void
}
