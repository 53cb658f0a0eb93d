/*
 * Text from the network on its way to a terminal.
 */
#ifndef CLIENT_TERMINAL_H
#define CLIENT_TERMINAL_H

#include "common/buf.h"

/* Appends `text` with every control character but newline and tab (C0, DEL, C1), every
 * bidirectional override and every byte that is not UTF-8 replaced by U+FFFD, so that no answer can
 * drive or deceive the terminal. */
void terminal_clean(struct buf *out, struct bytes text);

#endif
