# memory.gp - the peak memory of each device by kind; predicted beside measured.
#
#   gnuplot -e "csv='runs/x/devices.csv'; out='x.svg'" plots/memory.gp     (folder='runs/x': both sides of a comparison)
script = 'memory'
needs = 'devices.csv'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
load plots.'/sides.gp'
load plots.'/kinds.gp'

header = 'device,utilization,busy_s,peak_bytes,weights,optimizer,gradients,versions,activations,boundary,scratch'
do for [s = 1:sides] {
    wrong = wrong_with(file[s], header, '1 4 5 6 7 8 9 10 11', '', 0)
    if (wrong ne '') {
        print wrong
        exit status 1
    }
}
first_kind = 5 # column
last_kind = 11
load plots.'/devices.gp'
highest = 0
do for [k = 1:7] {
    is_shown[k] = 0
}
do for [s = 1:sides] {
    stats file[s] skip 1 using (sum [c = first_kind:last_kind] column(c)) nooutput
    highest = STATS_max > highest ? STATS_max : highest
    do for [k = 1:7] {
        stats file[s] skip 1 using (column(first_kind + k - 1)) nooutput
        is_shown[k] = is_shown[k] || STATS_max > 0
    }
}
if (!(highest > 0)) {
    print file[sides].': no memory in it'
    exit status 1
}

load plots.'/terminal.gp'
@device_axis
set label 999 heading('peak memory of each device') at screen 0.5, screen 1 - 18.0 / height center font bold(points) textcolor rgb dark noenhanced
set tmargin at screen 1 - 40.0 / height
set yrange [0 : 1.1 * highest / MiB]
set ylabel 'memory, MiB' offset 1.2, 0
set key outside right center vertical invert reverse Left samplen 1.5
set style fill solid 1 noborder
seam(tall) = tall > 0.01 * highest / MiB ? 0.003 * highest / MiB : 0 # a thin gap between the parts
below(k) = k < first_kind ? 0 : (sum [c = first_kind:k] column(c)) / MiB
if (is_comparison) {
    do for [d = 0 : devices - 1] {
        do for [s = 1:sides] {
            side = devices > 1 ? substr(label[s], 1, 4).'.' : label[s]
            set label 1 + 2 * d + s side at first d + shift(s), graph 0 center \
                offset 0, -0.7 font size(small) textcolor rgb grey
        }
    }
    set xtics offset 0, -0.8
    set bmargin 4
}
plot for [k = first_kind:last_kind] for [s = 1:sides] file[s] skip 1 using ($1 + shift(s)):(0): \
         ($1 + shift(s) - bar / 2):($1 + shift(s) + bar / 2):(below(k - 1)):(below(k) - seam(below(k) - below(k - 1))) with boxxyerror \
         lc rgb kind_color[k - first_kind + 1] notitle, \
     for [s = 1:sides] file[s] skip 1 using ($1 + shift(s)):(below(last_kind)):(three(below(last_kind))) \
         with labels offset 0, 0.6 font size(small) textcolor rgb dark notitle, \
     for [k = 1:7] keyentry with boxes lc rgb kind_color[k] title (is_shown[k] ? word(kinds, k) : '')
