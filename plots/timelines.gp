# timelines.gp - what each device does when: predicted above measured, on one time axis.
#
#   gnuplot -e "csv='runs/x/timeline.csv'; out='x.svg'" plots/timelines.gp     (folder='runs/x': both sides of a comparison)
#
# Boxes are instructions, where there is room for their name: 0F3 is the forward pass of minibatch 3 at stage 0 (with
# microbatches 3.1). The window: `count` minibatches (10, or fewer of many microbatches) from minibatch `first` on. Time 0
# is when the first forward pass of `first` starts; the window ends when that of `first + count` does. By default it lies
# around the middle of the run, and midway between two evaluations.
# Variables: count, first, numbers (0: none in the boxes), links (0: no row for the copies between devices).
script = 'timelines'
needs = 'timeline.csv'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
load plots.'/sides.gp'
if (!exists("numbers")) numbers = 1
if (!exists("links")) links = 1
most_links = 32

header = 'lane,name,kind,stage,minibatch,microbatch,version,payload,start_s,end_s'
do for [s = 1:sides] {
    wrong = wrong_with(file[s], header, '1 4 5 6', '9 10', 0)
    if (wrong ne '') {
        print wrong
        exit status 1
    }
}

# --- the window -------------------------------------------------------------------------------------------------------

last = 1e300 # minibatch that all sides have
do for [s = 1:sides] {
    stats file[s] skip 1 using (strcol(3) eq 'forward' ? $5 : -1) nooutput
    if (STATS_max < 0) {
        print file[s].': no forward pass in it'
        exit status 1
    }
    last = STATS_max < last ? STATS_max : last
}
stats file[sides] skip 1 using 6 nooutput
microbatches = STATS_max + 1
if (!exists("count")) count = microbatches <= 1 ? 10 : microbatches < 7 ? int(20 / microbatches) : 3

count = count < 1 ? 1 : count > last + 1 ? int(last) + 1 : int(count)

# Evaluations cut the run into stretches of minibatches: [low, high) is the one around the middle.
low = 0
high = last + 1
seen = 0
cut(at) = at <= (last + 1) / 2 ? (low = at > low ? at : low) : (high = at < high ? at : high)
stats file[sides] skip 1 using ($4 != 0 ? 0 : strcol(3) eq 'forward' ? (seen = $5 + 1) : \
                               strcol(3) eq 'evaluate' ? cut(seen) : 0) nooutput
if (!exists("first")) first = low + high - count > 0 ? int((low + high - count) / 2) : 0
first = int(first)
if (first < 0 || first > last) {
    print sprintf('%s: no minibatch %d; there are 0 to %d', folder, first, int(last))
    exit status 1
}

array from[2]    # seconds
array until[2]
array devices[2]
longest = 0
do for [s = 1:sides] {
    stats file[s] skip 1 using (strcol(3) eq 'forward' && $5 == first ? $9 : 1e300) nooutput
    from[s] = STATS_min
    stats file[s] skip 1 using (strcol(3) eq 'forward' && $5 == first + count ? $9 : 1e300) nooutput
    until[s] = STATS_min
    if (until[s] >= 1e300) {
        stats file[s] skip 1 using (strcol(3) ne 'evaluate' ? $10 : 0) nooutput
        until[s] = STATS_max
    }
    longest = until[s] - from[s] > longest ? until[s] - from[s] : longest
    stats file[s] skip 1 using (strstrt(strcol(2), 'device') == 1 ? $1 : 0) nooutput
    devices[s] = int(STATS_max) + 1
}
if (!(longest > 0) || longest >= 1e299 || devices[1] > 256 || devices[sides] > 256) {
    print sprintf('%s: no minibatches in order from %d on, or too many devices', file[sides], first)
    exit status 1
}
unit = longest >= 2 ? 's' : longest >= 2e-3 ? 'ms' : 'µs'
per_s = longest >= 2 ? 1.0 : longest >= 2e-3 ? 1e3 : 1e6

# --- what is drawn ----------------------------------------------------------------------------------------------------

width = page_width
left = 76
right = 66
pixel = 1.03 * longest / (width - left - right) # in seconds

kinds = 'forward backward update evaluate transfer wait'
titles = 'forward backward update evaluation copy waiting'
array colors[6] = [blue, orange, green, pink, sky, pale]
number(kind) = kind eq 'forward' ? 1 : kind eq 'backward' ? 2 : kind eq 'update' ? 3 : kind eq 'evaluate' ? 4 : \
               kind eq 'transfer' ? 5 : 6
ink(kind) = kind eq 'forward' || kind eq 'update' ? 0xFFFFFF : 0x222222
is_busy(kind) = number(kind) <= 4
start_in(s, start) = start > from[s] ? start : from[s]
end_in(s, end) = end < until[s] ? end : until[s]
inside(s, start, end) = end_in(s, end) > start_in(s, start) ? end_in(s, end) - start_in(s, start) : 0

# Rows of links: those with copies long enough to be seen, in the order of their lanes.
array copies[2]
array link_names[2 * most_links]
array link_lanes[2 * most_links]
slot(s, l) = (s - 1) * most_links + l
row_of_link(s, lane) = copies[s] == 0 ? 0 : sum [l = 1:copies[s]] (link_lanes[slot(s, l)] == lane ? l : 0)
arrow(text) = strstrt(text, '->') ? text[1 : strstrt(text, '->') - 1].'→'.text[strstrt(text, '->') + 2 : *] : text
learn(s, lane, text) = copies[s] == most_links || row_of_link(s, lane) ? 0 : \
    (copies[s] = copies[s] + 1, link_lanes[slot(s, copies[s])] = lane, link_names[slot(s, copies[s])] = arrow(text), 0)
array busy[2 * 256] # share of the window
array is_shown[6]   # kinds with a box that can be seen
do for [k = 1:6] {
    is_shown[k] = k <= 2
}
do for [s = 1:sides] {
    copies[s] = 0
    if (links) {
        stats file[s] skip 1 using (strcol(3) eq 'transfer' && inside(s, $9, $10) > 0.5 * pixel ? \
                                   learn(s, $1, strcol(2)) : 0) nooutput
    }
    do for [d = 0 : devices[s] - 1] {
        stats file[s] skip 1 using ($1 == d && is_busy(strcol(3)) ? inside(s, $9, $10) : 0) nooutput
        busy[(s - 1) * 256 + d + 1] = STATS_sum / (until[s] - from[s])
    }
    do for [k = 3:6] {
        stats file[s] skip 1 using (strcol(3) eq word(kinds, k) ? inside(s, $9, $10) : 0) nooutput
        is_shown[k] = is_shown[k] || STATS_max > 0.5 * pixel
    }
}
is_shown[5] = links && is_shown[5]

most_devices = devices[sides] > devices[1] ? devices[sides] : devices[1]
row = most_devices <= 4 ? 30 : most_devices <= 8 ? 24 : 18 # pixels
link_share = row > 20 ? 0.6 : 0.9                          # of a device's row
head = 64
caption = 40
foot = 62
rows(s) = devices[s] + link_share * copies[s] + 0.2
height = head + foot
do for [s = 1:sides] {
    height = height + caption + row * rows(s)
}
load plots.'/terminal.gp'

y_of(s, lane) = lane < devices[s] ? lane : devices[s] - 0.5 + link_share * (row_of_link(s, lane) - 0.5)
half(s, lane) = lane < devices[s] ? 0.42 : 0.4 * link_share
is_drawn(s, lane, start, end) = inside(s, start, end) > 0 && (lane < devices[s] || row_of_link(s, lane) > 0)
x_of(s, at) = (at - from[s]) * per_s
seam(kind, length) = number(kind) <= 4 && length > 4 * pixel ? 0.8 * pixel * per_s : 0
# As an instruction where there is room (stage, letter, minibatch), else the minibatch alone, else nothing.
letters = 'F B U E'
split_of(microbatch) = microbatches > 1 ? '.'.microbatch : ''
fits(text, length) = length > pixel * (3 + 6.2 * strlen(text))
text_in(s, lane, kind, length, stage, minibatch, microbatch) = !numbers || lane >= devices[s] || number(kind) > 4 ? '' : \
    fits(stage.word(letters, number(kind)).minibatch.split_of(microbatch), length) ? \
        stage.word(letters, number(kind)).minibatch.split_of(microbatch) : \
    fits(minibatch.split_of(microbatch), length) ? minibatch.split_of(microbatch) : \
    fits(minibatch, length) ? minibatch : ''

set multiplot
set border 0
set lmargin at screen 1.0 * left / width
set rmargin at screen 1 - 1.0 * right / width
set xrange [0 : 1.03 * longest * per_s]
set style fill solid 1 noborder
set grid xtics back lt 1 lc rgb ruled lw 0.6
set label 1 heading(count > 1 ? sprintf('minibatches %d to %d', first, first + count - 1) : \
                    sprintf('minibatch %d', first)) \
    at screen 0.5, screen 1 - 26.0 / height center noenhanced font bold(1.2 * points) textcolor rgb dark
set key at screen 0.5, screen 1 - 54.0 / height center center horizontal reverse Left samplen 1.2 width 1

top = head
do for [s = 1:sides] {
    top = top + caption
    set tmargin at screen 1 - 1.0 * top / height
    top = top + row * rows(s)
    set bmargin at screen 1 - 1.0 * top / height
    set yrange [devices[s] - 0.5 + link_share * copies[s] + 0.1 : -0.6]
    unset ytics
    set ytics scale 0 ('' -10)
    do for [d = 0 : devices[s] - 1] {
        set ytics add (sprintf('device %d', d) d)
        set label 10 + d sprintf('%.0f %%', 100 * busy[(s - 1) * 256 + d + 1]) \
            at screen 1 - (right - 8.0) / width, first d left font size(small) textcolor rgb grey
    }
    do for [l = 1 : copies[s]] {
        set ytics add (link_names[slot(s, l)] devices[s] - 0.5 + link_share * (l - 0.5))
    }
    set label 2 label[s] at graph 0, graph 1 offset 0, 0.8 left font bold(points) textcolor rgb dark
    set label 3 sprintf('%d minibatch%s in %s %s', count, count > 1 ? 'es' : '', three((until[s] - from[s]) * per_s), unit) \
        at graph 0, graph 1 offset 11, 0.8 left textcolor rgb dark
    set label 4 'busy' at screen 1 - (right - 8.0) / width, graph 1 offset 0, 0.8 left font size(small) \
        textcolor rgb grey
    set arrow 1 from (until[s] - from[s]) * per_s, graph 0 to (until[s] - from[s]) * per_s, graph 1 nohead back \
        lc rgb grey lw 1 dashtype (6, 4)
    if (s == sides) {
        set xtics scale 0.5 out nomirror format '%g'
        set xlabel sprintf('time from the start of minibatch %d, %s', first, unit) textcolor rgb dark
        set border 1
    } else {
        set xtics scale 0 format ''
    }
    # Spans outside the window are NaN; boxes too narrow for their number have an empty one.
    plot file[s] skip 1 using (0):(is_drawn(s, $1, $9, $10) ? y_of(s, $1) : NaN): \
             (x_of(s, start_in(s, $9))):(x_of(s, end_in(s, $10)) - seam(strcol(3), inside(s, $9, $10))): \
             (y_of(s, $1) - half(s, $1)):(y_of(s, $1) + half(s, $1)):(colors[number(strcol(3))]) \
             with boxxyerror lc rgb variable notitle, \
         file[s] skip 1 using (x_of(s, (start_in(s, $9) + end_in(s, $10)) / 2)): \
             (is_drawn(s, $1, $9, $10) ? y_of(s, $1) : NaN): \
             (text_in(s, $1, strcol(3), inside(s, $9, $10), strcol(4), strcol(5), strcol(6))):(ink(strcol(3))) \
             with labels font size(small) textcolor rgb variable notitle, \
         for [k = 1 : (s == 1 ? 6 : 0)] keyentry with boxes lc rgb colors[k] title (is_shown[k] ? word(titles, k) : '')
    unset label 1
    do for [d = 0 : devices[s] - 1] {
        unset label 10 + d
    }
}
unset multiplot
