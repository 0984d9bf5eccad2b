# memory-points.gp - memory by kind, a bar for each point of a sweep: all devices together.
#
#   gnuplot -e "csv='figures/memory-points.csv'; out='x.svg'" plots/memory-points.gp
script = 'memory-points'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
wrong = wrong_with(csv, 'label,weights,optimizer,gradients,versions,activations,boundary,scratch', '2 3 4 5 6 7 8', '', 0)
if (wrong ne '') {
    print wrong
    exit status 1
}
load plots.'/kinds.gp'
most_bars = 32
stats csv skip 1 using (total(2, 8)) nooutput
points_there = int(STATS_records)
bars = STATS_records > most_bars ? most_bars : int(STATS_records)
highest = STATS_max
if (!(highest > 0)) {
    print csv.': no memory in it'
    exit status 1
}
do for [k = 1:kind_count] {
    stats csv skip 1 using (column(1 + k)) nooutput
    is_shown[k] = STATS_max > 0
}
unit = highest >= 10 * GiB ? GiB : MiB
longest = int(system("tail -n +2 ".quoted(csv)." | cut -d, -f1 | head -n ".most_bars." | awk '{n = length($0); if (n > m) m = n} END {print m}'"))
left = 24 + 6.8 * longest > 400 ? 400 : 24 + 6.8 * longest # a label takes the room that it needs
width = left + column_width
height = 114 + bars * (bars > 12 ? 18 : 24)
load plots.'/terminal.gp'
set lmargin at screen left / width
set rmargin at screen 1 - 46.0 / width
set bmargin at screen 100.0 / height
set tmargin at screen 1 - 10.0 / height
set xrange [0 : 1.02 * highest / unit]
set yrange [bars - 0.5 : -0.5]
unset ytics
set grid noytics
set grid xtics back lt 1 lc rgb ruled lw 0.6
set xlabel 'memory of all devices, '.(unit == GiB ? 'GiB' : 'MiB').(points_there > bars ? \
    sprintf(' (the first %d of %d)', bars, points_there) : '') offset 0, 0.3
set key at screen 0.5, screen 40.0 / height center top vertical maxrows 2 reverse Left samplen 1 width 1
set style fill solid 1 noborder
half = 0.36
below(k) = k == 0 ? 0 : total(2, 1 + k) / unit
plot for [k = 1:kind_count] csv skip 1 every ::0::bars - 1 using (0):0:(below(k - 1)):(below(k)):($0 - half):($0 + half) \
         with boxxyerror lc rgb kind_color[k] notitle, \
     csv skip 1 every ::0::bars - 1 using (0):0:(strcol(1)) with labels right offset -0.8, 0 font size(small) \
         textcolor rgb dark noenhanced notitle, \
     csv skip 1 every ::0::bars - 1 using (below(kind_count)):0:(three(below(kind_count))) with labels left offset 0.5, 0 \
         font size(small) textcolor rgb dark notitle, \
     for [k = 1:kind_count] keyentry with boxes lc rgb kind_color[k] title (is_shown[k] ? word(kinds, k) : '')
