/*
 * The text form of IMA lists, and what it shares with the binary one. For ima.c and ima_ascii.c
 * only.
 */
#ifndef ATTEST_IMA_ASCII_H
#define ATTEST_IMA_ASCII_H

#include "attest/ima.h"

/* One line: "<pcr> <template hash> <template> <fields>"; the template data is rebuilt from it. */
struct err ima_ascii_read(struct ima_list *list, struct ima_entry *e, uint64_t *pcr) MUST_USE;

/* ERR_MALFORMED unless it is 1 to IMA_NAME_MAX printable characters without a space. */
struct err ima_name_set(struct ima_entry *e, struct bytes name) MUST_USE;
/* Digest and path; digest, path and a third field. */
bool ima_template_has_two(const char *name);
bool ima_template_has_extra(const char *name);
/* The fields of such a template, from e->measured; nothing for others. */
struct err ima_fields_read(struct ima_entry *e) MUST_USE;
/* Sets `e` to an entry of the template `ima`, kept in list->data. `path` is at most 255 bytes. */
void ima_legacy_data(struct ima_list *list, struct ima_entry *e, struct bytes digest,
                     struct bytes path);

#endif
