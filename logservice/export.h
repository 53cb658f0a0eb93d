/*
 * A log as static files (C2SP tlog-tiles and blob/<sha256>), so that reads scale without us.
 * Written incrementally: full tiles and blobs never change, so one that is there is left; the
 * checkpoint is written last, when everything that it covers is there.
 */
#ifndef LOGSERVICE_EXPORT_H
#define LOGSERVICE_EXPORT_H

#include "logservice/published.h"

/* Into `folder`, which is made if need be. ERR_UNTRUE, and nothing is written, if the folder holds
 * a checkpoint that this log does not continue. */
struct err export_log(uint64_t *n_written, const char *folder, struct store *log,
                      const struct published *p) MUST_USE;

#endif
