/*
 * What was asked of a run, and the answer in three sentences made from its numbers.
 */
#include "common/program/report_run.h"
#include "common/alloc.h"
#include "common/program/program.h"

#include <stdlib.h>
#include <string.h>

/* "cut after weight layers 1 and 3"; the caller frees. */
static char *cuts_phrase(const json_t *summary)
{
    const json_t *cuts = json_object_get(summary, "cuts");
    size_t count = json_array_size(cuts);
    if (count == 0)
        return sp_strdup("uncut");
    char *text = sp_format("cut after weight layer%s ", count > 1 ? "s" : "");
    for (size_t k = 0; k < count; k++) {
        char *longer = sp_format("%s%s%lld", text,
                                 k == 0          ? ""
                                 : k + 1 < count ? ", "
                                                 : " and ",
                                 (long long)json_integer_value(json_array_get(cuts, k)));
        free(text);
        text = longer;
    }
    return text;
}

static const char *plural(double count)
{
    return count == 1 ? "" : "s";
}

void run_write_question(struct report *report, const struct run *run)
{
    const json_t *summary = run->main->summary;
    char *cuts = cuts_phrase(summary);
    double devices = (double)json_array_size(run_list(run->main, "devices"));
    const struct sp_experiment *e = run->experiment;
    sp_page_say(
        &report->page, "p class=\"asked\"",
        "Asked: %s%s%s, %s and scheduled %s%s on %.0f%s%s device%s, in minibatches of %.0f: how fast is it, how "
        "much memory does it take, how stale do the weights get%s?",
        report_string(summary, "network"), e != NULL ? " on " : "", e != NULL ? e->data.set : "", cuts,
        report_string(summary, "schedule"), e != NULL && e->phase_count > 1 ? ", then otherwise," : "", devices,
        e != NULL ? " " : "", e != NULL ? e->devices.backend : "", plural(devices), report_number(summary, "batch"),
        run_has_side(run, MEASURED) ? ", and what does that do to accuracy" : "");
    free(cuts);
}

/* "(the simulation said 1.95, 76 % too much)"; "" without one. 96 bytes. */
static const char *said(double predicted, double measured, const char *shown, char buffer[96])
{
    double error = 100 * (predicted / measured - 1);
    buffer[0] = '\0';
    if (isfinite(error))
        snprintf(buffer, 96, " (the simulation said %s: %.1f %% too %s)", shown, fabs(error),
                 error > 0 ? "much" : "little");
    return buffer;
}

static void write_speed_sentence(struct report *report, const struct run *run)
{
    int side = run_has_side(run, MEASURED) ? MEASURED : PREDICTED;
    double speedup = run_number(run, side, "speedup"), rate = run_number(run, side, "samples_per_s");
    const char *network = report_string(run->main->summary, "network");
    const char *verb = side == MEASURED ? "trained" : "would train";
    char a[32], b[32], word[96] = "";
    double devices = (double)json_array_size(run_list(run->main, "devices"));
    if (isfinite(speedup)) {
        if (run_is_comparison(run))
            said(run_number(run, PREDICTED, "speedup"), speedup, report_real(run_number(run, PREDICTED, "speedup"), b),
                 word);
        sp_page_say(
            &report->page, "p",
            "%s %s %s times as fast as on one device%s, at %s samples a second, with its %.0f device%s busy %.0f "
            "%% of the time.",
            network, verb, report_real(speedup, a), word, report_real(rate, b), devices, plural(devices),
            100 * run_number(run, side, "utilization"));
    } else {
        sp_page_say(&report->page, "p",
                    "%s %s at %s samples a second, with its %.0f device%s busy %.0f %% of the time; how much faster "
                    "than one device that is was not measured (--baseline).",
                    network, verb, report_real(rate, a), devices, plural(devices),
                    100 * run_number(run, side, "utilization"));
    }
}

static double largest(const struct report_side *side, const char *array, const char *key, size_t *which)
{
    double most = NAN;
    for (size_t i = 0; i < json_array_size(run_list(side, array)); i++) {
        double x = run_entry(side, array, i, key);
        if (!(x <= most)) {
            most = x;
            *which = i;
        }
    }
    return most;
}

static void write_cost_sentence(struct report *report, const struct run *run)
{
    size_t device = 0, stage = 0;
    char bytes[32], word[96] = "";
    double peak = largest(run->main, "devices", "peak_bytes", &device);
    double stale = largest(run->main, "stages", "forward_staleness", &stage);
    if (run_is_comparison(run)) {
        double predicted = run_entry(&run->sides[PREDICTED], "devices", device, "peak_bytes");
        if (predicted == peak)
            snprintf(word, sizeof word, ", as predicted to the byte,");
        else
            snprintf(word, sizeof word, ", %.1f %% %s than predicted,", fabs(100 * (peak / predicted - 1)),
                     peak > predicted ? "more" : "less");
    }
    double share = 100 * report_number(run->main->summary, "stale_weight_fraction");
    program_bytes(peak, bytes);
    if (stale > 0)
        sp_page_say(
            &report->page, "p",
            "The fullest device, %zu, takes %s%s and the weights of stage %zu, the stalest, are %.0f update%s old "
            "when a minibatch goes through them; %.3g %% of all weights are stale at all.",
            device, bytes, word, stage, stale, plural(stale), share);
    else
        sp_page_say(&report->page, "p", "The fullest device, %zu, takes %s%s and no weights are stale.", device, bytes,
                    word);
}

/* The device whose utilization is the least (sign -1) or the most (1). */
static size_t extreme_device(const struct report_side *side, int sign)
{
    size_t best = 0;
    for (size_t d = 1; d < json_array_size(run_list(side, "devices")); d++)
        if (sign * run_entry(side, "devices", d, "utilization") >
            sign * run_entry(side, "devices", best, "utilization"))
            best = d;
    return best;
}

/* Of a device: what it waits for longest; NULL: nothing. */
static const char *longest_wait(const struct report_side *side, size_t device)
{
    const json_t *waits = json_object_get(json_array_get(run_list(side, "devices"), device), "wait_s");
    const char *name = NULL;
    double most = 0;
    for (int w = 0; w < SP_WAIT_COUNT; w++)
        if (report_number(waits, sp_wait_names[w]) > most) {
            most = report_number(waits, sp_wait_names[w]);
            name = sp_wait_names[w];
        }
    return name;
}

/* "device 0 is the bottleneck, …" */
static void write_bottleneck(FILE *out, const struct report_side *side)
{
    size_t busiest = extreme_device(side, 1), idlest = extreme_device(side, -1);
    const char *wait = longest_wait(side, idlest);
    double top = 100 * run_entry(side, "devices", busiest, "utilization");
    double low = 100 * run_entry(side, "devices", idlest, "utilization");
    if (json_array_size(run_list(side, "devices")) < 2 || top - low < 1)
        fprintf(out, "all devices are as busy, %.0f %% of the time", top);
    else
        fprintf(out, "device %zu is the bottleneck, busy %.0f %% of the time, while device %zu is busy %.0f %%%s%s",
                busiest, top, idlest, low, wait != NULL ? " and waits mostly for " : "", wait != NULL ? wait : "");
}

/* "prediction and measurement part most at device 1, …" */
static void write_parting(FILE *out, const struct run *run)
{
    size_t worst = 0;
    double most = -1;
    for (size_t d = 0; d < json_array_size(run_list(run->main, "devices")); d++) {
        double apart = fabs(run_entry(&run->sides[PREDICTED], "devices", d, "utilization") -
                            run_entry(&run->sides[MEASURED], "devices", d, "utilization"));
        if (apart > most) {
            most = apart;
            worst = d;
        }
    }
    fprintf(out,
            "prediction and measurement part most at device %zu, which was to be busy %.0f %% of the time and was busy "
            "%.0f %%",
            worst, 100 * run_entry(&run->sides[PREDICTED], "devices", worst, "utilization"),
            100 * run_entry(&run->sides[MEASURED], "devices", worst, "utilization"));
}

static void write_last_sentence(struct report *report, const struct run *run)
{
    FILE *out = report->page.out;
    double accuracy = report_number(run->main->summary, "accuracy");
    fputs("<p>", out);
    if (isfinite(accuracy))
        fprintf(out, "After %.0f minibatches it classifies %.2f %% of the test set correctly; ",
                report_number(run->main->summary, "minibatches"), 100 * accuracy);
    else if (run_is_comparison(run))
        fputs("As for where the time goes, ", out);
    else
        fputs("In it, ", out);
    if (run_is_comparison(run))
        write_parting(out, run);
    else
        write_bottleneck(out, run->main);
    fputs(".</p>\n", out);
}

void run_write_answer(struct report *report, const struct run *run)
{
    fputs("<div class=\"answer\">\n", report->page.out);
    write_speed_sentence(report, run);
    write_cost_sentence(report, run);
    write_last_sentence(report, run);
    run_write_search(report, run);
    fputs("</div>\n", report->page.out);
    run_write_notes(report, run);
}
