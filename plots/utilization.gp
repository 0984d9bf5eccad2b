# utilization.gp - the share of the time in which each device computes; predicted beside measured.
#
#   gnuplot -e "folder='runs/x'; out='x.svg'" plots/utilization.gp
script = 'utilization'
needs = 'devices.csv'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'

csv(s) = where[s].'/'.needs
header = 'device,utilization,busy_s,peak_bytes,'
do for [s = 1:sides] {
    wrong = wrong_with(csv(s), header, '1', '2 3', 0)
    if (wrong ne '') {
        print wrong
        exit status 1
    }
}
load plots.'/devices.gp'
array mean[2]
do for [s = 1:sides] {
    stats csv(s) skip 1 using 2 nooutput
    mean[s] = STATS_mean
}

load plots.'/terminal.gp'
@device_axis
set title heading('how busy each device is') noenhanced
set yrange [0:106]
set ytics 0, 20, 100
set ylabel 'time spent computing, %' textcolor rgb dark
set bmargin 5
set key at screen 0.5, screen 0.045 center center horizontal reverse Left samplen 1.5 width 1
set boxwidth bar
set style fill solid 1 noborder
color(s) = label[s] eq 'predicted' ? color_predicted : color_measured
plot for [s = 1:sides] csv(s) skip 1 using ($1 + shift(s)):(100 * $2) with boxes lc rgb color(s) \
         title sprintf('%s (mean %.0f %%)', label[s], 100 * mean[s]), \
     for [s = 1:sides] csv(s) skip 1 using ($1 + shift(s)):(100 * $2):(sprintf('%.0f', 100 * $2)) \
         with labels offset 0, 0.6 font size(0.9 * points) textcolor rgb dark notitle
