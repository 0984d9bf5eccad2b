# below.gp - in a multiplot, after its panels: an empty plot over the whole page, to hold a legend.
unset title
unset xlabel
unset ylabel
unset tics
unset border
unset grid
unset label
unset logscale
unset object
set lmargin at screen 0
set rmargin at screen 1
set bmargin at screen 0
set tmargin at screen 1
set xrange [0:1]
set yrange [0:1]
