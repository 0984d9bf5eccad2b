# utilization.gp - the share of the time in which each device computes; predicted beside measured.
#
#   gnuplot -e "csv='runs/x/devices.csv'; out='x.svg'" plots/utilization.gp     (folder='runs/x': both sides of a comparison)
script = 'utilization'
needs = 'devices.csv'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
load plots.'/sides.gp'

header = 'device,utilization,busy_s,peak_bytes,'
do for [s = 1:sides] {
    wrong = wrong_with(file[s], header, '1', '2 3', 0)
    if (wrong ne '') {
        print wrong
        exit status 1
    }
}
load plots.'/devices.gp'
array mean[2]
do for [s = 1:sides] {
    stats file[s] skip 1 using 2 nooutput
    mean[s] = STATS_mean
}

load plots.'/terminal.gp'
@device_axis
set label 999 heading('how busy each device is') at screen 0.5, screen 1 - 18.0 / height center font bold(points) textcolor rgb dark noenhanced
set tmargin at screen 1 - 40.0 / height
set yrange [0:106]
set ytics 0, 20, 100
set ylabel 'time spent computing, %' offset 1.2, 0
set bmargin 4.4
set key at screen 0.5, screen 0.045 center center horizontal reverse Left samplen 1 width -3
set boxwidth bar
set style fill solid 1 noborder
color(s) = label[s] eq 'predicted' ? color_predicted : color_measured
plot for [s = 1:sides] file[s] skip 1 using ($1 + shift(s)):(100 * $2) with boxes lc rgb color(s) \
         title sprintf('%s (mean %.0f %%)', label[s], 100 * mean[s]), \
     for [s = 1:sides] file[s] skip 1 using ($1 + shift(s)):(100 * $2):(sprintf('%.0f', 100 * $2)) \
         with labels offset 0, 0.6 font size(small) textcolor rgb dark notitle
