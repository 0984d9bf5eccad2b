# terminal.gp - opens `out`, `width` x `height`, with the look that all pictures share.
scale = ending eq '.png' ? 2 : 1
points = ending eq '.svg' ? 13 : ending eq '.pdf' ? 8 : 10 # the height of the letters
size(points) = sprintf('%s,%g', font, points)
bold(points) = sprintf('%s:Bold,%g', font, points)
small = 0.85 * points
if (ending eq '.svg') set terminal svg size width, height enhanced font size(points) background rgb 'white'
if (ending eq '.pdf') set terminal pdfcairo size width / 120.0, height / 120.0 enhanced font size(points) linewidth 0.6 pointscale 0.6
if (ending eq '.png') {
    if (strstrt(GPVAL_TERMINALS, 'pngcairo')) {
        set terminal pngcairo size scale * width, scale * height enhanced font size(points) fontscale scale \
            linewidth scale pointscale scale background rgb 'white'
    } else {
        set terminal png truecolor size scale * width, scale * height enhanced font size(points) fontscale scale \
            linewidth scale
    }
}
set output out

set border 3 lw 1 lc rgb dark
set tics out nomirror scale 0.6 textcolor rgb dark
set title font bold(points) textcolor rgb dark noenhanced
set xlabel textcolor rgb dark
set ylabel textcolor rgb dark
set key textcolor rgb dark noenhanced
set grid ytics back lt 1 lc rgb ruled lw 0.6
