declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)

define void @tile(ptr %a, ptr %b, ptr %walk, ptr %c) nounwind {
entry:
  %s1 = alloca <4 x float>, i64 1, align 8
  %s2 = alloca <4 x float>, i64 1, align 8
  %s17 = alloca ptr, i64 1, align 8
  %s18 = alloca ptr, i64 1, align 8
  %s39 = alloca ptr, i64 1, align 8
  %s40 = alloca ptr, i64 1, align 8
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
  store ptr %v37, ptr %s39, align 8
  store ptr %v38, ptr %s40, align 8
  %v41 = sub nsw i64 %v16, 1
  %v42 = and i64 %v16, -2
  br label %enter43
enter43:
  br label %loop44
loop44:
  %i47 = phi i64 [ 0, %enter43 ], [ %n48, %next49 ]
  %v50 = icmp slt i64 %i47, %v41
  br i1 %v50, label %body45, label %done46
body45:
  %v51 = load ptr, ptr %s39, align 8
  %v52 = load ptr, ptr %s40, align 8
  %v53 = getelementptr i8, ptr %v51, i64 0
  %v54 = getelementptr i8, ptr %v52, i64 0
  %v55 = getelementptr i8, ptr %v54, i64 0
  %v56 = load <4 x float>, ptr %v55, align 4
  %v57 = getelementptr i8, ptr %v53, i64 0
  %v58 = load float, ptr %v57, align 4
  %v59 = insertelement <4 x float> poison, float %v58, i64 0
  %v60 = shufflevector <4 x float> %v59, <4 x float> poison, <4 x i32> zeroinitializer
  %v61 = load <4 x float>, ptr %s1, align 4
  %v62 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v60, <4 x float> %v56, <4 x float> %v61)
  %v63 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v62)
  store <4 x float> %v63, ptr %s1, align 4
  %v64 = getelementptr i8, ptr %v53, i64 16
  %v65 = load float, ptr %v64, align 4
  %v66 = insertelement <4 x float> poison, float %v65, i64 0
  %v67 = shufflevector <4 x float> %v66, <4 x float> poison, <4 x i32> zeroinitializer
  %v68 = load <4 x float>, ptr %s2, align 4
  %v69 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v67, <4 x float> %v56, <4 x float> %v68)
  %v70 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v69)
  store <4 x float> %v70, ptr %s2, align 4
  %v71 = getelementptr i8, ptr %v51, i64 4
  %v72 = getelementptr i8, ptr %v52, i64 16
  %v73 = getelementptr i8, ptr %v72, i64 0
  %v74 = load <4 x float>, ptr %v73, align 4
  %v75 = getelementptr i8, ptr %v71, i64 0
  %v76 = load float, ptr %v75, align 4
  %v77 = insertelement <4 x float> poison, float %v76, i64 0
  %v78 = shufflevector <4 x float> %v77, <4 x float> poison, <4 x i32> zeroinitializer
  %v79 = load <4 x float>, ptr %s1, align 4
  %v80 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v78, <4 x float> %v74, <4 x float> %v79)
  %v81 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v80)
  store <4 x float> %v81, ptr %s1, align 4
  %v82 = getelementptr i8, ptr %v71, i64 16
  %v83 = load float, ptr %v82, align 4
  %v84 = insertelement <4 x float> poison, float %v83, i64 0
  %v85 = shufflevector <4 x float> %v84, <4 x float> poison, <4 x i32> zeroinitializer
  %v86 = load <4 x float>, ptr %s2, align 4
  %v87 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v85, <4 x float> %v74, <4 x float> %v86)
  %v88 = call <4 x float> asm sideeffect "", "=w,0,~{memory}"(<4 x float> %v87)
  store <4 x float> %v88, ptr %s2, align 4
  %v89 = getelementptr i8, ptr %v51, i64 8
  store ptr %v89, ptr %s39, align 8
  %v90 = getelementptr i8, ptr %v52, i64 32
  store ptr %v90, ptr %s40, align 8
  br label %next49
next49:
  %n48 = add nsw i64 %i47, 2
  br label %loop44
done46:
  %v91 = getelementptr i8, ptr %v37, i64 %v12
  store ptr %v91, ptr %s17, align 8
  %v92 = getelementptr i8, ptr %v38, i64 %v14
  store ptr %v92, ptr %s18, align 8
  br label %next35
next35:
  %n34 = add nsw i64 %i33, 1
  br label %loop30
done32:
  %v93 = getelementptr i8, ptr %v27, i64 %v6
  store ptr %v93, ptr %s17, align 8
  %v94 = getelementptr i8, ptr %v28, i64 %v8
  store ptr %v94, ptr %s18, align 8
  br label %next25
next25:
  %n24 = add nsw i64 %i23, 1
  br label %loop20
done22:
  %v95 = load <4 x float>, ptr %s1, align 4
  %v96 = getelementptr i8, ptr %c, i64 0
  store <4 x float> %v95, ptr %v96, align 4
  %v97 = load <4 x float>, ptr %s2, align 4
  %v98 = getelementptr i8, ptr %c, i64 16
  store <4 x float> %v97, ptr %v98, align 4
  ret void
}
