/*
 * Processes that train together: what they hand each other, how they come and go, and what the program says where they
 * cannot be. The ranks of the first tests are threads.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "exec/team.h"
#include "tests/port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 3, BYTES = 200000 }; /* more than fits into the buffers of a connection at once */

struct rank {
    int rank, port;
    const char *build;
    double patience_s; /* 0: 20 */
    void (*work)(struct rank *self, struct sp_error *err);
    struct exec_team *team;
    sp_status status; /* of joining */
    char said[512];
};

/* What ranks have said while they wait, a line each. */
static struct {
    pthread_mutex_t mutex;
    char lines[1024];
} waited = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void note_waiting(const char *text)
{
    pthread_mutex_lock(&waited.mutex);
    size_t used = strlen(waited.lines);
    snprintf(waited.lines + used, sizeof waited.lines - used, "%s\n", text);
    pthread_mutex_unlock(&waited.mutex);
}

static void *be_rank(void *argument)
{
    struct rank *self = argument;
    struct sp_error err = {0};
    struct exec_team_config config = {.rank = self->rank,
                                      .size = SIZE,
                                      .address = "127.0.0.1",
                                      .port = self->port,
                                      .build = self->build,
                                      .patience_s = self->patience_s > 0 ? self->patience_s : 20,
                                      .waits = note_waiting,
                                      .first_word_s = 3};
    self->status = exec_team_join(&config, &self->team, &err);
    if (self->status == SP_OK)
        self->work(self, &err);
    snprintf(self->said, sizeof self->said, "%s", err.text != NULL ? err.text : "");
    exec_team_leave(&self->team, &err);
    sp_error_fini(&err);
    return NULL;
}

/* The ranks from `first` up to `end`, each with its build and patience. */
static void run_some(struct rank *ranks, int first, int end, int port)
{
    pthread_t threads[SIZE];
    for (int r = first; r < end; r++) {
        ranks[r].rank = r;
        ranks[r].port = port;
        assert_int_equal(pthread_create(&threads[r], NULL, be_rank, &ranks[r]), 0);
    }
    for (int r = first; r < end; r++)
        assert_int_equal(pthread_join(threads[r], NULL), 0);
}

static void run_ranks(struct rank *ranks, void (*work)(struct rank *self, struct sp_error *err))
{
    for (int r = 0; r < SIZE; r++)
        ranks[r] = (struct rank){.work = work};
    run_some(ranks, 0, SIZE, test_port());
}

static bool is_all(const char *bytes, char value)
{
    return bytes[0] == value && memcmp(bytes, bytes + 1, BYTES - 1) == 0;
}

/* Rank r has r + 1 everywhere; each hands it to each other, and at last rank 0 to all. */
static void exchange(struct rank *self, struct sp_error *err)
{
    char *bytes = malloc(BYTES);
    sp_status status = SP_OK;
    for (int from = 0; from < SIZE && status == SP_OK; from++)
        for (int to = 0; to < SIZE && status == SP_OK; to++) {
            memset(bytes, self->rank + 1, BYTES);
            status = exec_team_pass(self->team, from, to, bytes, BYTES, err);
            if (status == SP_OK && !is_all(bytes, (char)((self->rank == to ? from : self->rank) + 1)))
                status = SP_FAIL(err, SP_E_IO, "rank %d has other bytes from %d to %d", self->rank, from, to);
        }
    if (status == SP_OK && exec_team_share(self->team, bytes, BYTES, err) == SP_OK && !is_all(bytes, 1))
        (void)SP_FAIL(err, SP_E_IO, "rank %d was not given rank 0's", self->rank);
    if (!exec_team_same_host(self->team, 0, 2))
        (void)SP_FAIL(err, SP_E_IO, "all are here");
    free(bytes);
}

static void bytes_go_from_each_rank_to_each(void **state)
{
    (void)state;
    struct rank ranks[SIZE];
    run_ranks(ranks, exchange);
    for (int r = 0; r < SIZE; r++)
        assert_string_equal(ranks[r].said, "");
}

/* Rank 1 says what is wrong, while rank 2 waits for it. */
static void one_fails(struct rank *self, struct sp_error *err)
{
    char byte = 0;
    if (self->rank == 1)
        (void)SP_FAIL(err, SP_E_MEMORY, "no memory for that");
    else
        (void)exec_team_pass(self->team, 1, 2, &byte, 1, err);
}

static void one_dies(struct rank *self, struct sp_error *err)
{
    if (self->rank == 1)
        exec_team_cut(self->team);
    else
        one_fails(self, err);
}

static void expect_words(const struct rank *rank, const char *words)
{
    if (strstr(rank->said, words) == NULL)
        fail_msg("rank %d says \"%s\", not \"%s\"", rank->rank, rank->said, words);
}

static void all_hear_of_a_failure_and_of_a_death(void **state)
{
    (void)state;
    struct rank ranks[SIZE];
    run_ranks(ranks, one_fails);
    for (int r = 0; r < SIZE; r += 2)
        expect_words(&ranks[r], " failed: no memory for that");
    run_ranks(ranks, one_dies);
    for (int r = 0; r < SIZE; r += 2) {
        expect_words(&ranks[r], "rank 1 on ");
        expect_words(&ranks[r], " was lost: its connection has ended");
    }
}

/* ---- joining ---- */

static void all_are_of_one_build(void **state)
{
    (void)state;
    struct rank ranks[SIZE] = {{.build = "one/1"}, {.build = "one/2"}};
    run_some(ranks, 0, 2, test_port());
    for (int r = 0; r < 2; r++)
        assert_int_equal(ranks[r].status, SP_E_INPUT);
    expect_words(&ranks[0], "rank 1 on ");
    expect_words(&ranks[0],
                 " is build one/2 of the program, and rank 0 is build one/1; all processes of a run must be");
    expect_words(&ranks[1], " has sent rank 1 of 3 away: rank 1 on ");
    expect_words(&ranks[1], " is build one/2 of the program, and rank 0 is build one/1");
}

/* One that speaks another protocol, and how it is answered. */
struct stranger {
    int port;
    const char *says;
    char answered[1024];
    size_t count;
};

static void *be_stranger(void *argument)
{
    struct stranger *self = argument;
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)self->port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), tries = 0;
    while (connect(fd, (struct sockaddr *)&at, sizeof at) != 0 && ++tries < 100)
        usleep(50000);
    char words[92] = {0}; /* more than is looked at */
    snprintf(words, sizeof words, "%s", self->says);
    (void)send(fd, words, sizeof words, MSG_NOSIGNAL);
    for (ssize_t got; (got = recv(fd, self->answered + self->count, sizeof self->answered - self->count, 0)) > 0;)
        self->count += (size_t)got;
    close(fd);
    return NULL;
}

static void one_of_another_protocol_is_told(void **state)
{
    (void)state;
    struct rank first = {.patience_s = 10};
    struct stranger stranger = {.port = test_port(), .says = "stalepipe-team1"};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, be_stranger, &stranger), 0);
    run_some(&first, 0, 1, stranger.port);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(first.status, SP_E_INPUT);
    expect_words(&first, "a process has come that speaks protocol 1, and rank 0 speaks 2; all processes of a run must");
    assert_int_equal(stranger.count, 512);
    assert_memory_equal(stranger.answered, "stalepipe-team2", 16);
    assert_string_equal(stranger.answered + 20, first.said);
}

static int count_of(const char *text, const char *words)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
        count++;
    return count;
}

/* A line that begins so is there, and says how many seconds are left: so many, or less where the machine was slow. */
static void expect_left(const char *begin, int seconds)
{
    const char *line = strstr(waited.lines, begin);
    if (line == NULL)
        fail_msg("they say \"%s\", not \"%s\"", waited.lines, begin);
    int left = atoi(line + strlen(begin));
    assert_true(left > 0 && left <= seconds);
}

/* Rank 2 does not come; something that is not of this program does, and is sent away without a word. The word is due
 * after 3 s, by when rank 1 has surely come, and with 4 s to go. */
static void who_waits_says_for_whom(void **state)
{
    (void)state;
    struct rank ranks[SIZE] = {{.patience_s = 7}, {.patience_s = 20}};
    struct stranger stranger = {.port = test_port(), .says = "GET / HTTP/1.1"};
    pthread_t thread;
    char rank_0[160], rank_1[160];
    waited.lines[0] = '\0';
    assert_int_equal(pthread_create(&thread, NULL, be_stranger, &stranger), 0);
    run_some(ranks, 0, 2, stranger.port);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stranger.count, 0);
    snprintf(rank_0, sizeof rank_0, "rank 0 of 3 waits for rank 2 at 127.0.0.1:%d, for ", stranger.port);
    snprintf(rank_1, sizeof rank_1, "rank 1 of 3 waits for the other ranks to come to rank 0 at 127.0.0.1:%d, for ",
             stranger.port);
    expect_left(rank_0, 7 - 3);
    expect_left(rank_1, 20 - 3);
    assert_int_equal(count_of(waited.lines, "\n"), 2);
    expect_words(&ranks[0], "rank 0 of 3 has waited 7 s for rank 2 at 127.0.0.1:");
    expect_words(&ranks[1], " has given up: rank 0 of 3 has waited 7 s for rank 2 at 127.0.0.1:");
}

/* Devices in order, as evenly as can be: of 5 devices, 3 processes have 2, 2 and 1 (first of r: 5 r / 3, rounded up).
 */
static void own_devices(struct rank *self, struct sp_error *err)
{
    static const int owners[] = {0, 0, 1, 1, 2}, firsts[] = {0, 2, 4, 5};
    for (int d = 0; d < 5; d++)
        if (exec_team_owner(self->team, d, 5) != owners[d])
            (void)SP_FAIL(err, SP_E_IO, "device %d is of %d", d, exec_team_owner(self->team, d, 5));
    for (int r = 0; r <= SIZE; r++)
        if (exec_team_first_device(self->team, r, 5) != firsts[r])
            (void)SP_FAIL(err, SP_E_IO, "rank %d begins at %d", r, exec_team_first_device(self->team, r, 5));
}

static void each_process_owns_devices(void **state)
{
    (void)state;
    struct rank ranks[SIZE];
    run_ranks(ranks, own_devices);
    for (int r = 0; r < SIZE; r++)
        assert_string_equal(ranks[r].said, "");
    assert_int_equal(exec_team_owner(NULL, 4, 5), 0);
    assert_int_equal(exec_team_first_device(NULL, 1, 5), 5);
}

/* Its listener never returns, as a library may not that ends what a device waits for. */
static atomic_bool hangs;

static void hang(void *self)
{
    (void)self;
    atomic_store(&hangs, true);
    for (;;)
        (void)pause();
}

/* The same while it is asked how its connections are: it was said before that this rank will end. */
static struct exec_team *asked;

static void hang_when_asked(void *self)
{
    exec_team_expect_end(asked, "the connection to rank 1 on a host");
    hang(self);
}

static void leave_with_3(const char *text)
{
    _exit(strstr(text, "rank 1 on ") != NULL ? 3 : 4);
}

/* A process of two ranks: 1 dies, and 0 hangs when it hears of it. */
static void *be_one_that_dies(void *argument)
{
    struct exec_team_config *config = argument;
    struct exec_team *team;
    struct sp_error err = {0};
    if (exec_team_join(config, &team, &err) == SP_OK)
        exec_team_cut(team);
    (void)pause();
    return NULL;
}

static void *be_one_that_stays(void *argument)
{
    struct exec_team *team;
    struct sp_error err = {0};
    (void)exec_team_join(argument, &team, &err);
    (void)pause();
    return NULL;
}

static void hang_with_the_other(int port, bool when_asked)
{
    struct exec_team_config first = {.size = 2,
                                     .address = "127.0.0.1",
                                     .port = port,
                                     .patience_s = 20,
                                     .give_up = leave_with_3},
                            second = first;
    pthread_t thread;
    struct exec_team *team;
    struct sp_error err = {0};
    second.rank = 1;
    second.give_up = NULL;
    (void)alarm(30);
    if (pthread_create(&thread, NULL, when_asked ? be_one_that_stays : be_one_that_dies, &second) != 0 ||
        exec_team_join(&first, &team, &err) != SP_OK)
        _exit(5);
    asked = team;
    exec_team_listen(team, when_asked ? &(struct exec_team_listener){.tick = hang_when_asked}
                                      : &(struct exec_team_listener){.failed = hang});
    while (!atomic_load(&hangs)) /* else it may leave before its listener is called */
        usleep(1000);
    exec_team_leave(&team, &err);
    _exit(6);
}

static void a_process_that_hangs_in_its_listener_ends(void **state)
{
    int port = test_port(), status;
    const bool *when_asked = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        hang_with_the_other(port, *when_asked);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
}

/* ---- the program ---- */

static char folder[64];

static int make_folder(void **state)
{
    static const char yaml[] = "name: a\nnetwork: lenet5\ndata: {set: synthetic, samples: 64, shape: [1, 28, 28]}\n"
                               "pipeline: {cuts: [1]}\ndevices: {backend: ref, count: 2}\n"
                               "train: {batch: 2, iterations: 2}\n";
    struct sp_error err = {0};
    (void)state;
    strcpy(folder, "/tmp/test_team.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return 1;
    char *path = sp_format("%s/a.yaml", folder);
    sp_status status = sp_file_write(path, yaml, &err);
    free(path);
    return status != SP_OK;
}

static int remove_folder(void **state)
{
    (void)state;
    char *command = sp_format("rm -rf %s", folder);
    int status = system(command);
    free(command);
    return status;
}

/* Starts training in that environment, with more options; what it says comes by the stream. */
static FILE *start_with(const char *environment, const char *options)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    assert_true(length > 0);
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    strcpy(strrchr(program, '/'), "/stalepipe"); /* build/tests/x: build/stalepipe */
    char *command = sp_format(
        "exec env -u RANK -u WORLD_SIZE -u MASTER_ADDR -u MASTER_PORT %s %s train %s/a.yaml -o %s/out %s 2>&1",
        environment, program, folder, folder, options);
    FILE *said = popen(command, "r");
    free(command);
    assert_non_null(said);
    return said;
}

static FILE *start_program(const char *environment)
{
    return start_with(environment, "");
}

static void expect_said(FILE *stream, int exit_status, const char *words)
{
    char said[2048];
    said[fread(said, 1, sizeof said - 1, stream)] = '\0';
    int status = pclose(stream);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != exit_status || strstr(said, words) == NULL)
        fail_msg("exit %d, and it says \"%s\", not \"%s\"", WEXITSTATUS(status), said, words);
}

static void a_wrong_environment_is_told(void **state)
{
    (void)state;
    static const char *const half[][2] = {
        {"WORLD_SIZE=2", "WORLD_SIZE is \"2\", but RANK is not set"},
        {"RANK=0 WORLD_SIZE=", "RANK is \"0\", but WORLD_SIZE is not set"},
        {"OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_RANK is \"1\", but OMPI_COMM_WORLD_SIZE is not set"},
        {"PMI_SIZE=3", "PMI_SIZE is \"3\", but PMI_RANK is not set"}};
    for (size_t h = 0; h < sizeof half / sizeof *half; h++) {
        char *words = sp_format("environment: %s; several processes that train together need both, ", half[h][1]);
        expect_said(start_program(half[h][0]), 2, words);
        free(words);
    }
    expect_said(start_program("PMI_SIZE=2 PMI_RANK=3"), 2, "environment: PMI_RANK is a whole number from 0 to 1");
    expect_said(start_program("RANK=1 PMI_SIZE=2 PMI_RANK=3"), 2, "environment: PMI_RANK is a whole number");
    expect_said(start_program("WORLD_SIZE=2 RANK=2"), 2, "environment: RANK is a whole number from 0 to 1, not \"2\"");
    expect_said(start_program("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=x"), 2,
                "environment: OMPI_COMM_WORLD_SIZE is a whole number");
    expect_said(start_program("WORLD_SIZE=2 RANK=0 MASTER_PORT=99999"), 2,
                "environment: MASTER_PORT is a whole number");
    int port, fd = test_port_bind(&port, false);
    char *taken = sp_format("WORLD_SIZE=2 RANK=0 MASTER_PORT=%d", port);
    expect_said(start_program(taken), 1, "rank 0 cannot listen at 127.0.0.1:");
    free(taken);
    close(fd);
}

static void processes_need_cuda_and_agree_on_how_many_they_are(void **state)
{
    (void)state;
    int port = test_port();
    char *first = sp_format("WORLD_SIZE=2 RANK=0 MASTER_PORT=%d", port),
         *second = sp_format("WORLD_SIZE=2 RANK=1 MASTER_PORT=%d", port),
         *other = sp_format("WORLD_SIZE=3 RANK=1 MASTER_PORT=%d", port);
    FILE *a = start_program(first), *b = start_program(second);
    expect_said(a, 2, "a.yaml:5:20: devices.backend: ref trains in one process; the environment says 2");
    expect_said(b, 2, "a.yaml:5:20: devices.backend: ref trains in one process; the environment says 2");
    a = start_program(first);
    b = start_program(other);
    expect_said(a, 2, "a rank 1 of 3 has come from ");
    expect_said(b, 2, " has sent rank 1 of 3 away: a rank 1 of 3 has come from ");
    free(first);
    free(second);
    free(other);
}

/* 3 devices, of which process 0 has 0 and 1: stage 0 goes forward on 0 and, when split, backward on 2. */
static void a_stage_is_of_one_process(void **state)
{
    (void)state;
    char *ranks[2];
    FILE *said[2];
    int port = test_port();
    for (int r = 0; r < 2; r++) {
        ranks[r] = sp_format("WORLD_SIZE=2 RANK=%d MASTER_PORT=%d", r, port);
        said[r] =
            start_with(ranks[r], "--set devices.backend=cuda --set devices.count=3 --set pipeline.placement=split");
    }
    for (int r = 0; r < 2; r++) {
        expect_said(said[r], 2,
                    "pipeline.placement: stage 0 goes forward on device 0 and backward on device 2, but process 0 has "
                    "devices 0 to 1 and process 1 has 2 to 2; both must be of one process");
        free(ranks[r]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_from_each_rank_to_each),
        cmocka_unit_test(all_hear_of_a_failure_and_of_a_death),
        cmocka_unit_test(all_are_of_one_build),
        cmocka_unit_test(one_of_another_protocol_is_told),
        cmocka_unit_test(who_waits_says_for_whom),
        cmocka_unit_test(each_process_owns_devices),
        cmocka_unit_test_prestate(a_process_that_hangs_in_its_listener_ends, &(bool){false}),
        cmocka_unit_test_prestate(a_process_that_hangs_in_its_listener_ends, &(bool){true}),
        cmocka_unit_test(a_wrong_environment_is_told),
        cmocka_unit_test(a_stage_is_of_one_process),
        cmocka_unit_test(processes_need_cuda_and_agree_on_how_many_they_are),
    };
    return cmocka_run_group_tests_name("team", tests, make_folder, remove_folder);
}
