// Compiled for macOS, never run: the system's header against `Zone`, `Introspection` and `Statistics` of src/zone.rs.
#include <malloc/malloc.h>
#include <stddef.h>

#define AT(type, field, offset) _Static_assert(offsetof(type, field) == offset, #type "." #field)

AT(malloc_zone_t, size, 16);
AT(malloc_zone_t, malloc, 24);
AT(malloc_zone_t, calloc, 32);
AT(malloc_zone_t, valloc, 40);
AT(malloc_zone_t, free, 48);
AT(malloc_zone_t, realloc, 56);
AT(malloc_zone_t, destroy, 64);
AT(malloc_zone_t, zone_name, 72);
AT(malloc_zone_t, batch_malloc, 80);
AT(malloc_zone_t, batch_free, 88);
AT(malloc_zone_t, introspect, 96);
AT(malloc_zone_t, version, 104);
AT(malloc_zone_t, memalign, 112);
AT(malloc_zone_t, free_definite_size, 120);
AT(malloc_zone_t, pressure_relief, 128);

AT(malloc_introspection_t, enumerator, 0);
AT(malloc_introspection_t, good_size, 8);
AT(malloc_introspection_t, check, 16);
AT(malloc_introspection_t, print, 24);
AT(malloc_introspection_t, log, 32);
AT(malloc_introspection_t, force_lock, 40);
AT(malloc_introspection_t, force_unlock, 48);
AT(malloc_introspection_t, statistics, 56);
AT(malloc_introspection_t, zone_locked, 64);
AT(malloc_introspection_t, reinit_lock, 104);

AT(malloc_statistics_t, blocks_in_use, 0);
AT(malloc_statistics_t, size_in_use, 8);
AT(malloc_statistics_t, max_size_in_use, 16);
AT(malloc_statistics_t, size_allocated, 24);
