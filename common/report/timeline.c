#include "common/report/timeline.h"
#include "common/alloc.h"
#include "common/report/table.h"
#include "common/summary.h"

#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Spans of one side in one window: enough to see a pattern, few enough for a page of some hundred kilobytes. */
enum { WINDOW_SPANS = 1600 };

static int name_index(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static const char *const columns[] = {"lane",       "name",    "kind",    "stage",   "minibatch",
                                      "microbatch", "version", "payload", "start_s", "end_s"};
enum { LANE, NAME, KIND, STAGE, MINIBATCH, MICROBATCH, VERSION, PAYLOAD, START, END, COLUMNS };

/* One row; false: damaged. */
static bool read_span(const struct sp_table *table, int row, const int at[COLUMNS], struct sp_timeline_span *out)
{
    double numbers[COLUMNS];
    for (int c = 0; c < COLUMNS; c++)
        numbers[c] = sp_table_number(table, row, at[c]);
    int kind = name_index(sp_span_kind_names, SP_SPAN_KIND_COUNT, sp_table_text(table, row, at[KIND]));
    int payload = name_index(sp_payload_names, SP_PAYLOAD_COUNT, sp_table_text(table, row, at[PAYLOAD]));
    *out = (struct sp_timeline_span){
        .span = {.start_s = numbers[START],
                 .end_s = numbers[END],
                 .minibatch = (int64_t)numbers[MINIBATCH],
                 .version = (int64_t)numbers[VERSION],
                 .stage = (int)numbers[STAGE],
                 .microbatch = (int)numbers[MICROBATCH],
                 .kind = (enum sp_span_kind)(kind < 0 ? 0 : kind),
                 .payload = (enum sp_payload)(payload < 0 ? 0 : payload)},
        .lane = (int)numbers[LANE],
        .has_payload = payload >= 0,
    };
    return kind >= 0 && numbers[LANE] >= 0 && numbers[LANE] < 4096 && numbers[MINIBATCH] >= -1 &&
           numbers[MINIBATCH] < 1e12 && numbers[STAGE] >= -1 && numbers[STAGE] < 4096 && numbers[MICROBATCH] >= -1 &&
           numbers[MICROBATCH] < 1e6 && isfinite(numbers[VERSION]) && isfinite(numbers[START]) &&
           isfinite(numbers[END]) && numbers[END] >= numbers[START];
}

static void take_lane(struct sp_timeline *timeline, int lane, const char *name)
{
    while (timeline->lane_count <= lane)
        *(char **)sp_grow((void **)&timeline->lanes, timeline->lane_count++, sizeof(char *)) = NULL;
    if (timeline->lanes[lane] != NULL)
        return;
    timeline->lanes[lane] = sp_strdup(name);
    if (strncmp(name, "device", 6) == 0 && lane >= timeline->device_count)
        timeline->device_count = lane + 1;
}

/* When each minibatch begins, from the forward passes at the first stage. */
static void find_beginnings(struct sp_timeline *timeline)
{
    int64_t last = -1;
    for (int64_t i = 0; i < timeline->count; i++)
        if (timeline->spans[i].span.kind == SP_SPAN_FORWARD && timeline->spans[i].span.minibatch > last)
            last = timeline->spans[i].span.minibatch;
    if (last >= timeline->count) /* not of a trace: its numbers are no numbers of minibatches */
        last = -1;
    timeline->minibatches = last + 1;
    timeline->begins_s = sp_alloc((size_t)(last + 2) * sizeof *timeline->begins_s);
    for (int64_t m = 0; m <= last; m++)
        timeline->begins_s[m] = INFINITY;
    for (int64_t i = 0; i < timeline->count && last >= 0; i++) {
        const struct sp_span *span = &timeline->spans[i].span;
        if (span->kind == SP_SPAN_FORWARD && span->start_s < timeline->begins_s[span->minibatch])
            timeline->begins_s[span->minibatch] = span->start_s;
    }
}

sp_status sp_timeline_read(const char *path, const char *label, struct sp_timeline *out, struct sp_error *err)
{
    struct sp_table table;
    int at[COLUMNS];
    *out = (struct sp_timeline){.label = label};
    sp_status status = sp_table_read(path, &table, err);
    for (int c = 0; c < COLUMNS && status == SP_OK; c++)
        if ((at[c] = sp_table_column(&table, columns[c])) < 0)
            status = sp_reject(err, (struct sp_mark){.file = path}, "no column \"%s\"", columns[c]);
    if (status == SP_OK)
        out->spans = sp_calloc((size_t)table.rows + 1, sizeof *out->spans);
    for (int row = 0; row < table.rows && status == SP_OK; row++) {
        struct sp_timeline_span *span = &out->spans[out->count];
        if (!read_span(&table, row, at, span)) {
            status =
                sp_reject(err, (struct sp_mark){.file = path, .line = table.lines[row], .column = 1}, "not a span");
            break;
        }
        take_lane(out, span->lane, sp_table_text(&table, row, at[NAME]));
        out->count++;
        if (span->span.microbatch >= out->microbatches)
            out->microbatches = span->span.microbatch + 1;
        if (span->span.end_s > out->end_s && span->span.kind != SP_SPAN_EVALUATE)
            out->end_s = span->span.end_s;
    }
    sp_table_fini(&table);
    if (status == SP_OK)
        find_beginnings(out);
    return status;
}

void sp_timeline_fini(struct sp_timeline *timeline)
{
    for (int l = 0; l < timeline->lane_count; l++)
        free(timeline->lanes[l]);
    free(timeline->lanes);
    free(timeline->spans);
    free(timeline->begins_s);
    *timeline = (struct sp_timeline){0};
}

struct sp_timeline_median sp_timeline_median(const struct sp_timeline *timeline, enum sp_span_kind kind, int stage)
{
    struct sp_timeline_median result = {.seconds = NAN};
    double *seconds = sp_alloc((size_t)(timeline->count + 1) * sizeof *seconds);
    for (int64_t i = 0; i < timeline->count; i++) {
        const struct sp_span *span = &timeline->spans[i].span;
        if (span->kind == kind && span->stage == stage)
            seconds[result.count++] = span->end_s - span->start_s;
    }
    if (result.count > 0) {
        gsl_sort(seconds, 1, (size_t)result.count);
        result.seconds = gsl_stats_median_from_sorted_data(seconds, 1, (size_t)result.count);
    }
    free(seconds);
    return result;
}

/* A JSON string; safe inside a script element. */
static void write_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++)
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < 0x20 || *text == '<')
            fprintf(out, "\\u%04x", (unsigned)(unsigned char)*text);
        else
            fputc(*text, out);
    fputc('"', out);
}

static void write_names(FILE *out, const char *const *names, int count)
{
    fputc('[', out);
    for (int i = 0; i < count; i++) {
        if (i > 0)
            fputc(',', out);
        write_string(out, names[i] != NULL ? names[i] : "");
    }
    fputc(']', out);
}

/* Minibatches [first, end): a window lasts from the first's forward pass to that of the end, or to the run's end. */
struct window {
    const char *name;
    int64_t first, end;
};

static double window_begin_s(const struct sp_timeline *side, const struct window *window)
{
    return window->first == 0 ? 0 : side->begins_s[window->first];
}

static double window_end_s(const struct sp_timeline *side, const struct window *window)
{
    return window->end < side->minibatches ? side->begins_s[window->end] : side->end_s;
}

static void write_side(FILE *out, const struct sp_timeline *side, const struct window *window)
{
    double begin_s = window_begin_s(side, window), end_s = window_end_s(side, window);
    const char *comma = "";
    fputs("{\"label\":", out);
    write_string(out, side->label);
    fprintf(out, ",\"devices\":%d,\"length\":%.3f,\"lanes\":", side->device_count, 1e6 * (end_s - begin_s));
    write_names(out, (const char *const *)side->lanes, side->lane_count);
    fputs(",\"spans\":[", out);
    for (int64_t i = 0; i < side->count; i++) {
        const struct sp_timeline_span *one = &side->spans[i];
        const struct sp_span *span = &one->span;
        if (span->end_s <= begin_s || span->start_s >= end_s)
            continue;
        fprintf(out, "%s%d,%d,%d,%" PRId64 ",%d,%" PRId64 ",%d,%.3f,%.3f", comma, one->lane, (int)span->kind,
                span->stage, span->minibatch, span->microbatch, span->version,
                one->has_payload ? (int)span->payload : SP_PAYLOAD_COUNT, 1e6 * (span->start_s - begin_s),
                1e6 * (span->end_s - span->start_s));
        comma = ",";
    }
    fputs("]}", out);
}

/* The whole run where it is short; else its start (how the pipeline fills), its middle, and its end (how it drains). */
static int choose_windows(const struct sp_timeline *sides, int count, struct window windows[3])
{
    int64_t minibatches = INT64_MAX, spans = 1;
    for (int s = 0; s < count; s++) {
        if (sides[s].minibatches < minibatches)
            minibatches = sides[s].minibatches;
        if (sides[s].count > spans)
            spans = sides[s].count;
    }
    int64_t length = (int64_t)((double)WINDOW_SPANS * (double)minibatches / (double)spans);
    length = length < 2 ? 2 : length;
    if (3 * length >= minibatches) {
        windows[0] = (struct window){"the whole run", 0, minibatches};
        return 1;
    }
    windows[0] = (struct window){"the start", 0, length};
    windows[1] = (struct window){"the middle", (minibatches - length) / 2, (minibatches + length) / 2};
    windows[2] = (struct window){"the end", minibatches - length, minibatches};
    return 3;
}

static void write_data(FILE *out, const struct sp_timeline *sides, int count, const struct window *windows,
                       int window_count)
{
    const char *payloads[SP_PAYLOAD_COUNT + 1], *waits[SP_PAYLOAD_COUNT + 1];
    memcpy(payloads, sp_payload_names, SP_PAYLOAD_COUNT * sizeof *payloads);
    for (int p = 0; p < SP_PAYLOAD_COUNT; p++)
        waits[p] = sp_wait_names[sp_wait_causes[p]];
    payloads[SP_PAYLOAD_COUNT] = waits[SP_PAYLOAD_COUNT] = "";
    int microbatches = 1;
    for (int s = 0; s < count; s++)
        if (sides[s].microbatches > microbatches)
            microbatches = sides[s].microbatches;
    fprintf(out, "{\"microbatches\":%d,\"kinds\":", microbatches);
    write_names(out, sp_span_kind_names, SP_SPAN_KIND_COUNT);
    fputs(",\"payloads\":", out);
    write_names(out, payloads, SP_PAYLOAD_COUNT + 1);
    fputs(",\"waits\":", out);
    write_names(out, waits, SP_PAYLOAD_COUNT + 1);
    fputs(",\"windows\":[", out);
    for (int w = 0; w < window_count; w++) {
        fprintf(out, "%s{\"name\":\"%s\",\"minibatches\":%" PRId64 ",\"sides\":[", w > 0 ? "," : "", windows[w].name,
                windows[w].end - windows[w].first);
        for (int s = 0; s < count; s++) {
            if (s > 0)
                fputc(',', out);
            write_side(out, &sides[s], &windows[w]);
        }
        fputs("]}", out);
    }
    fputs("]}", out);
}

static void write_legend(FILE *out, const struct sp_timeline *sides, int count)
{
    static const char *const titles[SP_SPAN_KIND_COUNT] = {"forward", "backward",   "update",
                                                           "copy",    "evaluation", "waiting"};
    static const enum sp_span_kind kinds[SP_SPAN_KIND_COUNT] = {SP_SPAN_FORWARD,  SP_SPAN_BACKWARD, SP_SPAN_UPDATE,
                                                                SP_SPAN_TRANSFER, SP_SPAN_EVALUATE, SP_SPAN_WAIT};
    bool is_there[SP_SPAN_KIND_COUNT] = {false};
    for (int s = 0; s < count; s++)
        for (int64_t i = 0; i < sides[s].count; i++)
            is_there[sides[s].spans[i].span.kind] = true;
    fputs("<div class=\"legend\">", out);
    for (int k = 0; k < SP_SPAN_KIND_COUNT; k++)
        if (is_there[kinds[k]])
            fprintf(out, "<span><i style=\"background:var(--%s)\"></i>%s</span>", sp_span_kind_names[kinds[k]],
                    titles[k]);
    fputs("</div>\n", out);
}

void sp_page_timeline(struct sp_page *page, const struct sp_timeline *sides, int count)
{
    FILE *out = page->out;
    struct window windows[3];
    int window_count = choose_windows(sides, count, windows);
    if (windows[0].end < 1)
        return;
    fputs("<div class=\"timeline\">\n<div class=\"tools\">", out);
    if (window_count > 1) {
        fputs("<select aria-label=\"part of the run\">", out);
        for (int w = 0; w < window_count; w++)
            fprintf(out, "<option value=\"%d\">%s (minibatches %" PRId64 " to %" PRId64 ")</option>", w,
                    windows[w].name, windows[w].first, windows[w].end - 1);
        fputs("</select>", out);
    }
    fputs("<button class=\"in\" aria-label=\"zoom in\">+</button><button class=\"out\" aria-label=\"zoom "
          "out\">\xE2\x88\x92"
          "</button><button class=\"all\">all</button>",
          out);
    if (count > 1)
        fputs("<label><input type=\"checkbox\" class=\"stretch\"> stretch both to one length</label>", out);
    fputs("</div>\n", out);
    write_legend(out, sides, count);
    fputs("<div class=\"view\"><canvas tabindex=\"0\" role=\"img\" aria-label=\"what each device does when\"></canvas>"
          "<div class=\"tip\" hidden></div></div>\n<script type=\"application/json\">",
          out);
    write_data(out, sides, count, windows, window_count);
    fputs("</script>\n</div>\n", out);
}
