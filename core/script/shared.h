/*
 * shared - what the worker says to moongate.shared: which memory it is to use.
 */
#ifndef MG_SCRIPT_SHARED_H
#define MG_SCRIPT_SHARED_H

struct lua_State;
struct shared_file;

/* From now on scripts of this process use the dictionaries in the file, which must live as long.
 * Before: a memory of the process's own. */
void script_shared_use(const struct shared_file *file);
/* The process ends. */
void script_shared_close(void);

/* Adds shared and shared_info to the module on the stack's top. */
void script_shared_open(struct lua_State *L);

#endif
