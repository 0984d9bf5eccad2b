/*
 * choices.h - which algorithm each convolution pass uses, and remembering what was found fastest.
 *
 * A choice belongs to a key: machine, library version, threads, shape and pass. It is timed once and kept, in this
 * process and in a text file of lines "KEY: direct" or "KEY: winograd" (with the times behind, for people). A file that
 * cannot be read or written is done without; lines that are damaged are passed over.
 */
#ifndef EXEC_CPU_CHOICES_H
#define EXEC_CPU_CHOICES_H

#include "exec/cpu/onednn.h"

enum { CPU_CHOICE_KEY = 256 };

/* "AMD EPYC, oneDNN 2.6.3, 1 thread": the part of a key that is the same for a whole run. */
void cpu_choices_machine(int threads, char key[CPU_CHOICE_KEY]);

/* Takes over the lines of a file, once; NULL or no such file: nothing. Any thread, as are all here. */
void cpu_choices_load(const char *path);

/* The choice kept for a key; false: none. */
bool cpu_choices_find(const char *key, enum cpu_algorithm *out);

/* Keeps a choice, and adds its line to the file (NULL: none). */
void cpu_choices_keep(const char *key, enum cpu_algorithm choice, double direct_s, double winograd_s, const char *path);

/* Adds "KEY: choice" to a text that a run keeps of its choices, unless it is there. */
void cpu_choices_note(char **text, const char *key, enum cpu_algorithm choice);

/* The choice that a text of such lines gives to a key; false: none. */
bool cpu_choices_in(const char *text, const char *key, enum cpu_algorithm *out);

#endif
