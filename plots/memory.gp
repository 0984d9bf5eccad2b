# memory.gp - the peak memory of each device by kind; predicted beside measured.
#
#   gnuplot -e "folder='runs/x'; out='x.svg'" plots/memory.gp
script = 'memory'
needs = 'devices.csv'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'

csv(s) = where[s].'/'.needs
kinds = 'weights optimizer gradients versions activations boundary scratch'
header = 'device,utilization,busy_s,peak_bytes,weights,optimizer,gradients,versions,activations,boundary,scratch'
do for [s = 1:sides] {
    wrong = wrong_with(csv(s), header, '1 4 5 6 7 8 9 10 11', '', 0)
    if (wrong ne '') {
        print wrong
        exit status 1
    }
}
MiB = 1048576.0
first_kind = 5 # column
last_kind = 11
array colors[7] = [blue, sky, green, yellow, orange, vermilion, pink]
array is_shown[7]
load plots.'/devices.gp'
highest = 0
do for [k = 1:7] {
    is_shown[k] = 0
}
do for [s = 1:sides] {
    stats csv(s) skip 1 using (sum [c = first_kind:last_kind] column(c)) nooutput
    highest = STATS_max > highest ? STATS_max : highest
    do for [k = 1:7] {
        stats csv(s) skip 1 using (column(first_kind + k - 1)) nooutput
        is_shown[k] = is_shown[k] || STATS_max > 0
    }
}
if (!(highest > 0)) {
    print csv(sides).': no memory in it'
    exit status 1
}

load plots.'/terminal.gp'
@device_axis
set title heading('peak memory of each device') noenhanced
set yrange [0 : 1.1 * highest / MiB]
set ylabel 'memory, MiB' textcolor rgb dark
set key outside right center vertical invert reverse Left samplen 1.5
set style fill solid 1 noborder
three(x) = sprintf(x < 10 ? '%.2f' : x < 100 ? '%.1f' : '%.0f', x)
seam(tall) = tall > 0.01 * highest / MiB ? 0.003 * highest / MiB : 0 # a thin gap between the parts
below(k) = k < first_kind ? 0 : (sum [c = first_kind:k] column(c)) / MiB
if (is_comparison) {
    do for [d = 0 : devices - 1] {
        do for [s = 1:sides] {
            side = devices > 6 ? substr(label[s], 1, 4).'.' : label[s]
            set label 1 + 2 * d + s side at first d + shift(s), graph 0 center \
                offset 0, -0.7 font size(0.75 * points) textcolor rgb grey
        }
    }
    set xtics offset 0, -0.8
    set bmargin 4
}
plot for [k = first_kind:last_kind] for [s = 1:sides] csv(s) skip 1 using ($1 + shift(s)):(0): \
         ($1 + shift(s) - bar / 2):($1 + shift(s) + bar / 2):(below(k - 1)):(below(k) - seam(below(k) - below(k - 1))) with boxxyerror \
         lc rgb colors[k - first_kind + 1] notitle, \
     for [s = 1:sides] csv(s) skip 1 using ($1 + shift(s)):(below(last_kind)):(three(below(last_kind))) \
         with labels offset 0, 0.6 font size(0.9 * points) textcolor rgb dark notitle, \
     for [k = 1:7] keyentry with boxes lc rgb colors[k] title (is_shown[k] ? word(kinds, k) : '')
