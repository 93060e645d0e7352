
define void @finish(ptr %y, float %slope, <8 x float> %total, <8 x float> %bias) nounwind {
entry:
  %v1 = fadd <8 x float> %total, %bias
  %v2 = fcmp olt <8 x float> %v1, <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>
  %v3 = insertelement <8 x float> poison, float %slope, i64 0
  %v4 = shufflevector <8 x float> %v3, <8 x float> poison, <8 x i32> zeroinitializer
  %v5 = fmul <8 x float> %v1, %v4
  %v6 = select <8 x i1> %v2, <8 x float> %v5, <8 x float> %v1
  store <8 x float> %v6, ptr %y, align 4
  ret void
}
