/* port.h - ports of 127.0.0.1 for tests in which a rank 0 listens. */
#ifndef TESTS_PORT_H
#define TESTS_PORT_H

#include <stdbool.h>

/*
 * A port that nobody else is given, be it to listen at or to call from, until the next one is asked for: a socket is
 * bound to it. Who listens with SO_REUSEADDR, as a rank 0 does, may (socket(7)).
 */
int test_port(void);

/* Binds a socket to a port that nobody has just now; nobody can listen there, unless `shared`, as above. */
int test_port_bind(int *port, bool shared);

#endif
