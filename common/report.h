/*
 * report.h - draws what a run left in its folder, by gnuplot.
 */
#ifndef SP_REPORT_H
#define SP_REPORT_H

#include "common/error.h"

/* Runs each script of plots/ for which `folder` (of a run, or of compare) has the data; writes FOLDER/NAME.svg, .pdf
 * and .png and names them on stderr unless `quiet`. No folder or nothing to draw: SP_E_INPUT; no gnuplot, or it failed:
 * SP_E_IO.
 */
sp_status sp_report(const char *folder, bool quiet, struct sp_error *err);

#endif
