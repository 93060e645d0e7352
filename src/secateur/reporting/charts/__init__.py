"""The charts of a report as inline SVG, drawn by a few small functions: no script, no library.

Series differ by colour, by dashes and by a label of their own, so that no reader depends on colour. Colours are names
of the page's style sheet (s0 to s7), which holds the palette: Okabe and Ito, "Color Universal Design", 2008.
"""
