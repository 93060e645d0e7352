
define void @transform(ptr %x, ptr %y) nounwind {
entry:
  %v1 = getelementptr i8, ptr %x, i64 0
  %v2 = load <8 x float>, ptr %v1, align 4
  %v3 = getelementptr i8, ptr %x, i64 32
  %v4 = load <8 x float>, ptr %v3, align 4
  %v5 = getelementptr i8, ptr %x, i64 64
  %v6 = load <8 x float>, ptr %v5, align 4
  %v7 = getelementptr i8, ptr %x, i64 96
  %v8 = load <8 x float>, ptr %v7, align 4
  %v9 = fsub <8 x float> %v2, %v6
  %v10 = fadd <8 x float> %v4, %v6
  %v11 = fsub <8 x float> %v6, %v4
  %v12 = fsub <8 x float> %v8, %v4
  %v13 = getelementptr i8, ptr %y, i64 0
  store <8 x float> %v9, ptr %v13, align 4
  %v14 = getelementptr i8, ptr %y, i64 32
  store <8 x float> %v10, ptr %v14, align 4
  %v15 = getelementptr i8, ptr %y, i64 64
  store <8 x float> %v11, ptr %v15, align 4
  %v16 = getelementptr i8, ptr %y, i64 96
  store <8 x float> %v12, ptr %v16, align 4
  ret void
}
