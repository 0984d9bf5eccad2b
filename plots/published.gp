# published.gp - what was published, predicted and measured, side by side; a panel for each quantity.
#
#   gnuplot -e "csv='figures/published.csv'; out='x.svg'" plots/published.gp
#
# A table with the columns quantity,label,published,predicted,measured,measured_low,measured_high; the first has its unit
# with it, what is not known is empty.
script = 'published'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
wrong = wrong_with(csv, 'quantity,label,published,predicted,measured,measured_low,measured_high', '', '3 4 5 6 7', 1)
if (wrong ne '') {
    print wrong
    exit status 1
}
most_panels = 6
most_rows = 24
panels = values_of(csv, 1, most_panels)
panel_count = lines_in(panels)
panels_there = lines_in(values_of(csv, 1, 100000))
array rows_in[panel_count]
array rows_there[panel_count]
array has_interval[panel_count]
row = 24
height = 40
do for [p = 1:panel_count] {
    stats rows_of(csv, line_of(panels, p)) using (number_in(7)) nooutput
    has_interval[p] = STATS_max > 0
    rows_there[p] = int(STATS_records)
    rows_in[p] = STATS_records > most_rows ? most_rows : int(STATS_records)
    height = height + 62 + row * rows_in[p]
}
longest = int(system("tail -n +2 ".quoted(csv)." | cut -d, -f2 | awk '{n = length($0); if (n > m) m = n} END {print m}'"))
left = 24 + 6.8 * longest > 400 ? 400 : 24 + 6.8 * longest # a label takes the room that it needs
width = 1.5 * column_width + (left > 240 ? left - 240 : 0)
load plots.'/terminal.gp'
set multiplot
set lmargin at screen left / width
set rmargin at screen 1 - 24.0 / width
unset key
set grid noytics
set grid xtics back lt 1 lc rgb ruled lw 0.6
top = 10
do for [p = 1:panel_count] {
    quantity = line_of(panels, p)
    set tmargin at screen 1 - 1.0 * top / height
    set bmargin at screen 1 - (top + row * rows_in[p] + 0.0) / height
    top = top + row * rows_in[p] + 62
    unset ytics
    set autoscale
    lowest = 1e99
    highest = -1e99
    wider(c) = has(c) ? (lowest = column(c) < lowest ? column(c) : lowest, highest = column(c) > highest ? column(c) : highest) : 0
    stats rows_of(csv, quantity) using (wider(3), wider(4), wider(5), wider(6), wider(7), 0) nooutput
    if (highest < lowest) {
        lowest = 0
        highest = 1
    }
    room = highest > lowest ? 0.06 * (highest - lowest) : 0.1 * (abs(highest) + 1)
    set xrange [lowest - room : highest + room]
    set yrange [rows_in[p] - 0.5 : -0.5]
    set xtics autofreq
    left_out = first_of(rows_in[p], rows_there[p], 'points')
    set xlabel quantity.(has_interval[p] ? intervals_note : '').(left_out eq '' ? '' : ', '.left_out) offset 0, 0.3
    plot rows_of(csv, quantity) using (lowest - room):0:(strcol(2)) with labels right offset -0.8, 0 font size(small) \
             textcolor rgb dark noenhanced notitle, \
         rows_of(csv, quantity) using (known(3)):0 with points pt 12 ps 1.3 lw 1.4 lc rgb dark notitle, \
         rows_of(csv, quantity) using (known(4)):0 with points pt 6 ps 0.9 lw 1.4 lc rgb vermilion notitle, \
         rows_of(csv, quantity) using (known(5)):0:(bound(6, 5)):(bound(7, 5)) with xerrorbars pt 7 ps 0.7 lw 1.4 \
             lc rgb blue notitle
}
load plots.'/below.gp'
set label 1 first_of(panel_count, panels_there, 'quantities') at screen 0.5, screen 36.0 / height center textcolor rgb dark noenhanced
set key at screen 0.5, screen 26.0 / height center top horizontal Left reverse samplen 0.5 width 1
plot NaN notitle, keyentry with points pt 12 ps 1.3 lw 1.4 lc rgb dark title 'published', \
    keyentry with points pt 6 ps 0.9 lw 1.4 lc rgb vermilion title 'predicted', \
    keyentry with points pt 7 ps 0.7 lw 1.4 lc rgb blue title 'measured'
unset multiplot
