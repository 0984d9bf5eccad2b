# sides.gp - the two sides of a comparison: `sides`, label[1..2] ("predicted", "measured") and file[1..2], their `needs`.
#
# `folder` is that of a run, or of a comparison with predicted/ and measured/ in it; `csv` is one side alone.
array label[2]
array file[2]
sides = 0
if (exists("folder")) {
    do for [side in "predicted measured"] {
        if (is_there(folder.'/'.side.'/'.needs)) {
            sides = sides + 1
            label[sides] = side
            file[sides] = folder.'/'.side.'/'.needs
        }
    }
}
if (sides == 0) {
    sides = 1
    file[1] = exists("folder") ? folder.'/'.needs : csv
    label[1] = is_there(system('dirname '.quoted(file[1])).'/losses.csv') ? 'measured' : 'predicted'
}
is_comparison = sides == 2
where(s) = system('dirname '.quoted(file[s]))

name = json_text(where(1).'/summary.json', 'name')
if (name eq '') name = system('basename '.quoted(exists("folder") ? folder : where(1)))
about = json_text(where(1).'/summary.json', 'network')
schedule = json_text(where(1).'/summary.json', 'schedule')
if (schedule ne '') about = about.', '.schedule
heading(what) = name.(about eq '' ? '' : ' ('.about.')').': '.what
