/*
 * gate.h - holds a stream until the test lets it go, however long the machine takes to come to that.
 *
 * Nothing that ThreadSanitizer sees is ordered by it. There is one gate, closed at first.
 */
#ifndef CUDASIM_GATE_H
#define CUDASIM_GATE_H

void gate_close(void);
void gate_open(void);

/* For cudaLaunchHostFunc: what is behind it in the stream stays pending until the gate is opened, or for some 30 s,
 * so that a test that does not come to that ends, too. */
void gate_wait(void *unused);

#endif
