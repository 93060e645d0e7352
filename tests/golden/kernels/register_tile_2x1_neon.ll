declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)

define void @tile(ptr %a, ptr %b, ptr %walk, ptr %c) nounwind {
entry:
  %s1 = alloca <4 x float>, i64 1, align 8
  %s2 = alloca <4 x float>, i64 1, align 8
  %s17 = alloca ptr, i64 1, align 8
  %s18 = alloca ptr, i64 1, align 8
  %s40 = alloca ptr, i64 1, align 8
  %s41 = alloca ptr, i64 1, align 8
  %s42 = alloca ptr, i64 1, align 8
  store <4 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, ptr %s1, align 4
  store <4 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, ptr %s2, align 4
  %v3 = getelementptr i8, ptr %walk, i64 0
  %v4 = load i64, ptr %v3, align 8
  %v5 = getelementptr i8, ptr %walk, i64 8
  %v6 = load i64, ptr %v5, align 8
  %v7 = getelementptr i8, ptr %walk, i64 16
  %v8 = load i64, ptr %v7, align 8
  %v9 = getelementptr i8, ptr %walk, i64 24
  %v10 = load i64, ptr %v9, align 8
  %v11 = getelementptr i8, ptr %walk, i64 32
  %v12 = load i64, ptr %v11, align 8
  %v13 = getelementptr i8, ptr %walk, i64 40
  %v14 = load i64, ptr %v13, align 8
  %v15 = getelementptr i8, ptr %walk, i64 48
  %v16 = load i64, ptr %v15, align 8
  store ptr %a, ptr %s17, align 8
  store ptr %b, ptr %s18, align 8
  br label %enter19
enter19:
  br label %loop20
loop20:
  %i23 = phi i64 [ 0, %enter19 ], [ %n24, %next25 ]
  %v26 = icmp slt i64 %i23, %v4
  br i1 %v26, label %body21, label %done22
body21:
  %v27 = load ptr, ptr %s17, align 8
  %v28 = load ptr, ptr %s18, align 8
  br label %enter29
enter29:
  br label %loop30
loop30:
  %i33 = phi i64 [ 0, %enter29 ], [ %n34, %next35 ]
  %v36 = icmp slt i64 %i33, %v10
  br i1 %v36, label %body31, label %done32
body31:
  %v37 = load ptr, ptr %s17, align 8
  %v38 = load ptr, ptr %s18, align 8
  %v39 = getelementptr i8, ptr %v37, i64 %v12
  store ptr %v39, ptr %s40, align 8
  store ptr %v37, ptr %s41, align 8
  store ptr %v38, ptr %s42, align 8
  %v43 = sub nsw i64 %v16, 1
  %v44 = and i64 %v16, -2
  br label %enter45
enter45:
  br label %loop46
loop46:
  %i49 = phi i64 [ 0, %enter45 ], [ %n50, %next51 ]
  %v52 = icmp slt i64 %i49, %v43
  br i1 %v52, label %body47, label %done48
body47:
  %v53 = load ptr, ptr %s41, align 8
  %v54 = load ptr, ptr %s42, align 8
  %v55 = getelementptr i8, ptr %v53, i64 0
  %v56 = getelementptr i8, ptr %v54, i64 0
  %v57 = getelementptr i8, ptr %v56, i64 0
  %v58 = load <4 x float>, ptr %v57, align 4
  %v59 = getelementptr i8, ptr %v55, i64 0
  %v60 = load float, ptr %v59, align 4
  %v61 = insertelement <4 x float> poison, float %v60, i64 0
  %v62 = shufflevector <4 x float> %v61, <4 x float> poison, <4 x i32> zeroinitializer
  %v63 = load <4 x float>, ptr %s1, align 4
  %v64 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v62, <4 x float> %v58, <4 x float> %v63)
  %v65 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v64)
  store <4 x float> %v65, ptr %s1, align 4
  %v66 = getelementptr i8, ptr %v55, i64 16
  %v67 = load float, ptr %v66, align 4
  %v68 = insertelement <4 x float> poison, float %v67, i64 0
  %v69 = shufflevector <4 x float> %v68, <4 x float> poison, <4 x i32> zeroinitializer
  %v70 = load <4 x float>, ptr %s2, align 4
  %v71 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v69, <4 x float> %v58, <4 x float> %v70)
  %v72 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v71)
  store <4 x float> %v72, ptr %s2, align 4
  %v73 = getelementptr i8, ptr %v53, i64 4
  %v74 = getelementptr i8, ptr %v54, i64 16
  %v75 = getelementptr i8, ptr %v74, i64 0
  %v76 = load <4 x float>, ptr %v75, align 4
  %v77 = getelementptr i8, ptr %v73, i64 0
  %v78 = load float, ptr %v77, align 4
  %v79 = insertelement <4 x float> poison, float %v78, i64 0
  %v80 = shufflevector <4 x float> %v79, <4 x float> poison, <4 x i32> zeroinitializer
  %v81 = load <4 x float>, ptr %s1, align 4
  %v82 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v80, <4 x float> %v76, <4 x float> %v81)
  %v83 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v82)
  store <4 x float> %v83, ptr %s1, align 4
  %v84 = getelementptr i8, ptr %v73, i64 16
  %v85 = load float, ptr %v84, align 4
  %v86 = insertelement <4 x float> poison, float %v85, i64 0
  %v87 = shufflevector <4 x float> %v86, <4 x float> poison, <4 x i32> zeroinitializer
  %v88 = load <4 x float>, ptr %s2, align 4
  %v89 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v87, <4 x float> %v76, <4 x float> %v88)
  %v90 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v89)
  store <4 x float> %v90, ptr %s2, align 4
  %v91 = getelementptr i8, ptr %v53, i64 8
  store ptr %v91, ptr %s41, align 8
  %v92 = getelementptr i8, ptr %v54, i64 32
  store ptr %v92, ptr %s42, align 8
  br label %next51
next51:
  %n50 = add nsw i64 %i49, 2
  br label %loop46
done48:
  %v93 = getelementptr i8, ptr %v37, i64 %v12
  store ptr %v93, ptr %s17, align 8
  %v94 = getelementptr i8, ptr %v38, i64 %v14
  store ptr %v94, ptr %s18, align 8
  br label %next35
next35:
  %n34 = add nsw i64 %i33, 1
  br label %loop30
done32:
  %v95 = getelementptr i8, ptr %v27, i64 %v6
  store ptr %v95, ptr %s17, align 8
  %v96 = getelementptr i8, ptr %v28, i64 %v8
  store ptr %v96, ptr %s18, align 8
  br label %next25
next25:
  %n24 = add nsw i64 %i23, 1
  br label %loop20
done22:
  %v97 = load <4 x float>, ptr %s1, align 4
  %v98 = getelementptr i8, ptr %c, i64 0
  store <4 x float> %v97, ptr %v98, align 4
  %v99 = load <4 x float>, ptr %s2, align 4
  %v100 = getelementptr i8, ptr %c, i64 16
  store <4 x float> %v99, ptr %v100, align 4
  ret void
}
