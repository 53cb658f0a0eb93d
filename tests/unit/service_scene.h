/*
 * A log service in a process of its own, and hosts with software TPMs that submit to it.
 */
#ifndef TESTS_UNIT_SERVICE_SCENE_H
#define TESTS_UNIT_SERVICE_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <sys/types.h>

#include "fake_host.h"
#include "http/connection.h"
#include "transparency/tlog_policy.h"

struct scene {
    struct fake_world w;
    struct policy policy;
    char folder[64], db[96];
    struct tlog_policy witnesses; /* of the service; `quorum none` at first */
    unsigned quorum_wait_s;       /* of the service; 0: its own */
    unsigned drain_s;             /* of the service; 0: its own */
    pid_t service;
    struct url url;
    struct connection *c;
    const char *prefix;     /* of challenges: "/submit", or an activator's */
    struct buf last_answer; /* to the answer to a challenge */
};

void must(struct err e);

/* A world with one started host, its policy, an empty log; nothing runs yet. */
void scene_make(struct scene *s);
/* Starts the service and connects to it. */
void scene_start(struct scene *s);
void scene_stop(struct scene *s);
/* Stops, and checks that the log is whole and has so many entries. */
void scene_end(struct scene *s, uint64_t n_entries);

struct bytes scene_entry(struct scene *s, uint64_t index);
json_t *scene_blobs(struct scene *s, struct bytes statement);
/* Takes the body; the answer's status, its body appended. */
int scene_post(struct scene *s, struct buf *answer, const char *path, json_t *body);
/* A challenge for host `named`, answered with the TPM of host `real`: the status of the answer.
 * `more` (taken, may be NULL) goes into the challenge's request. */
int scene_session_as(struct scene *s, char session[65], unsigned named, unsigned real,
                     json_t *more);
void scene_session(struct scene *s, char session[65], unsigned host);
int scene_submit_with(struct scene *s, struct buf *answer, const char *session, uint64_t index,
                      json_t *blobs);
int scene_submit(struct scene *s, struct buf *answer, const char *session, uint64_t index);
/* Submits the entry and verifies the proof that comes back: the index in the service's log. */
uint64_t scene_log(struct scene *s, const char *session, uint64_t index);

#endif
