/*
 * The publisher of a host whose log somebody else keeps: carries statements to the log service and
 * brings back its checkpoint with the proofs that the attester asks for. It verifies nothing: that
 * is the attester's.
 */
#ifndef SERVER_PUBLISHER_LOG_H
#define SERVER_PUBLISHER_LOG_H

#include "publish/log_client.h"
#include "server/channel.h"

/* Answers CHANNEL_SUBMIT and CHANNEL_LOOK, one at a time, until CHANNEL_END or the end of the
 * channel. What did not work goes back as CHANNEL_ERROR with the request's id. */
struct err publisher_log_run(struct log_client *client, int channel_fd) MUST_USE;

#endif
