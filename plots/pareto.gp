# pareto.gp - what the planner found: throughput against memory, with staleness as the colour. The line goes through the
# plans that no other beats in throughput and memory together.
#
#   gnuplot -e "csv='runs/x/candidates.csv'; out='x.svg'" plots/pareto.gp
script = 'pareto'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
wrong = wrong_with(csv, 'cuts,schedule,microbatches,placement,devices,samples_per_s,peak_bytes,staleness,stale_percent,on_front', \
                   '3 5 7 8 10', '6 9', 0)
if (wrong ne '') {
    print wrong
    exit status 1
}
load plots.'/kinds.gp'
schedules = values_of(csv, 2, most_series)
schedule_count = lines_in(schedules)
stats csv skip 1 using 7 nooutput
largest = STATS_max
unit = largest >= 10 * GiB ? GiB : MiB
stats csv skip 1 using 8 nooutput
stalest = STATS_max
stats csv skip 1 using 6 nooutput
if (!(STATS_max > 0)) {
    print csv.': no throughput in it'
    exit status 1
}
slowest = STATS_min
fastest = STATS_max
room = fastest > slowest ? 0.08 * (fastest - slowest) : 0.1 * fastest
rows = (schedule_count + 2) / 3
width = column_width
foot = 18 + 18 * rows
height = 272 + foot
load plots.'/terminal.gp'
set lmargin at screen left_for(y_letters(slowest - room, fastest + room)) / width
set ytics y_step(slowest - room, fastest + room)
right = 84.0 + 9.2 * (strlen(sprintf('%.0f', stalest)) - 1) # of the colours' box, with its numbers and its name
set rmargin at screen 1 - right / width
set tmargin at screen 1 - 12.0 / height
set bmargin at screen (foot + 50.0) / height
set xlabel 'memory of the fullest device, '.(unit == GiB ? 'GiB' : 'MiB') offset 0, 0.3
set ylabel 'throughput, samples/s' offset 1.2, 0
set xrange [0 : 1.06 * largest / unit]
set yrange [slowest - room : fastest + room]
set cbrange [0 : stalest > 0 ? stalest : 1]
set cblabel 'staleness, updates' textcolor rgb dark offset 0.4, 0
cb_step = stalest > 6 ? ceil(stalest / 5.0) : 1
set cbtics cb_step scale 0.4 textcolor rgb dark
set colorbox user origin screen 1 - (right - 10.0) / width, screen (foot + 50.0) / height size screen 12.0 / width, screen 200.0 / height noborder
set palette defined (0 '#0072B2', 0.5 '#E4C14B', 1 '#B03A00')
set key at screen 0.5, screen (foot - 10.0) / height center top vertical maxrows rows Left reverse samplen 0.5 width 1
front = "< tail -n +2 '".csv."' | tr -d '\\r' | awk -F, '$10 == 1' | sort -t, -k7,7g"
of_schedule(s) = sprintf("< tail -n +2 '%s' | tr -d '\\r' | awk -F, -v a=\"%s\" '$2 == a'", csv, line_of(schedules, s))
plot front using ($7 / unit):6 with fsteps lw 1.2 lc rgb grey notitle, \
    for [s = 1:schedule_count] of_schedule(s) using ($7 / unit):6:8 with points pt mark_of[s] ps 0.9 lc palette notitle, \
    for [s = 1:schedule_count] keyentry with points pt mark_of[s] ps 0.8 lc rgb dark title line_of(schedules, s)
