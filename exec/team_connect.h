/*
 * team_connect.h - the connections of a team: who listens, who calls, and bytes on them. Internal to exec/.
 */
#ifndef EXEC_TEAM_CONNECT_H
#define EXEC_TEAM_CONNECT_H

#include "exec/team.h"

enum { EXEC_HOST_NAME = 64 };

struct exec_connections {
    int size;
    int *news, *data;              /* [rank]; -1: none. Rank 0 has those of all others, these have rank 0's */
    char (*hosts)[EXEC_HOST_NAME]; /* [rank] */
};

/* Opens all connections of this rank and finds out who is where. Close in any case. */
sp_status exec_connections_open(const struct exec_team_config *config, struct exec_connections *to,
                                struct sp_error *err);
void exec_connections_close(struct exec_connections *to);

/* All bytes; false: the connection has ended. */
bool exec_send_all(int fd, const void *bytes, size_t count);
bool exec_receive_all(int fd, void *bytes, size_t count);

#endif
