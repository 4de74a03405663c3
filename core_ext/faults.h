/* Deliberate faults of the numbering, for the simulation: see rust/faults. Without IMFAST_FAULTS the
 * answer is a constant 0 and nothing of it is left in the module. */

#ifndef IMFAST_FAULTS_H
#define IMFAST_FAULTS_H

#ifdef IMFAST_FAULTS
#include <stdlib.h>
#include <string.h>

/* Whether the environment's IMFAST_FAULT is `name`. */
static inline int imfast_fault(const char* name) {
    const char* injected = getenv("IMFAST_FAULT");
    return injected != NULL && strcmp(injected, name) == 0;
}
#else
#define imfast_fault(name) 0
#endif

#endif
