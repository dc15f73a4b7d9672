/*
 * shared - moongate.shared: the worker sets the memory that its dictionaries lie in.
 */
#ifndef MG_SCRIPT_SHARED_H
#define MG_SCRIPT_SHARED_H

struct lua_State;
struct shared_file;

/* Makes scripts of this process use the dictionaries in the file, which must outlive them. Without
 * the call they use memory of the process's own. */
void script_shared_use(const struct shared_file *file);
/* Closes the dictionaries when the process ends. */
void script_shared_close(void);

/* Adds shared and shared_info to the module on the stack's top. */
void script_shared_open(struct lua_State *L);

#endif
