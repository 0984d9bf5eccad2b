# devices.gp - bars by device: how many there are, how wide the page is, and (as @device_axis) their axis.
devices = 1
do for [s = 1:sides] {
    stats file[s] skip 1 using 1 nooutput
    devices = STATS_max + 1 > devices ? int(STATS_max) + 1 : devices
}
if (devices > 256) {
    print file[sides].': more than 256 devices'
    exit status 1
}
slots = devices < 2 ? 2 : devices # a lone bar is not as wide as the page
width = slots > 6 ? page_width : slots > 3 ? 1.5 * column_width : 1.2 * column_width
height = 340
bar = is_comparison ? 0.41 : 0.55
shift(s) = is_comparison ? (s - 1.5) * 0.43 : 0
device_axis = "set xrange [(devices - slots) / 2.0 - 0.6 : (devices + slots) / 2.0 - 0.4]; \
    set xtics scale 0 ('' -10); \
    set for [d = 0 : devices - 1] xtics add (sprintf(devices > 10 ? '%d' : 'device %d', d) d); \
    set xlabel (devices > 10 ? 'device' : '') ; \
    set grid ytics back lt 1 lc rgb ruled lw 0.6"
