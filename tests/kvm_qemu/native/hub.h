/* hpcore's side of the socket, as the tests need it: notes what it is told, and answers. */
#ifndef HUB_H
#define HUB_H

#include <stdbool.h>
#include "wire.h"

enum hub_fault { HUB_FINE, HUB_NO_PAGE, HUB_SHORT_PAGE, HUB_UNSEALED, HUB_OLD_PAGE, HUB_NO_VCPUS,
                 HUB_HANGS_UP, HUB_REFUSES, HUB_SILENT, HUB_OTHER_VERSION };

extern struct wire_page *hub_page;
extern enum hub_fault hub_fault;
extern uint64_t hub_value;                                  /* what a load gives */
extern void (*hub_on_write)(const struct wire_message *);   /* before the store is answered */
extern int hub_event;
extern bool hub_hung_up;                /* the interposer has ended the conversation */
extern bool hub_holds;                  /* the case itself lets the machine run, by hub_allow */
extern bool hub_keeps;                  /* the machine outlives hpcore */
extern int hub_passed;                  /* how many descriptors came with the last greeting */

void hub_start(uint32_t possible, uint32_t granted);        /* bits of `granted`; sets the path */
void hub_leave(void);                                       /* hpcore dies */
void hub_return(void);                                      /* and is there again */
void hub_grant(uint32_t index, bool yes);
void hub_allow(uint32_t resets);        /* the machine as it is since so many resets may run */
void hub_force(uint32_t index);         /* off at once; the case kicks its thread */
void hub_reset_gic(uint32_t index);     /* its CPU interface; the same */
int hub_count(uint32_t type);                               /* messages of that type so far */
struct wire_message hub_last(uint32_t type);
struct wire_message hub_message(int number);
int hub_messages(void);
void hub_forget(void);

#endif
