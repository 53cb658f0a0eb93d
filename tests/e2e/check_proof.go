// Checks a tlog-proof@v1 with Go's own implementation of notes and trees (golang.org/x/mod/sumdb):
// an independent judge of what this project writes.
//
//	check_proof VKEY ENTRY-FILE < PROOF
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func hashOf(text string) (h tlog.Hash, err error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err == nil && copy(h[:], raw) != len(raw) || len(raw) != tlog.HashSize {
		err = fmt.Errorf("not a hash: %q", text)
	}
	return h, err
}

func check(vkey string, entry, proof []byte) error {
	head, checkpoint, found := bytes.Cut(proof, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return fmt.Errorf("not a tlog-proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var path tlog.RecordProof
	for _, line := range lines[2:] {
		h, err := hashOf(line)
		if err != nil {
			return err
		}
		path = append(path, h)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	opened, err := note.Open(checkpoint, note.VerifierList(verifier))
	if err != nil {
		return err
	}
	text := strings.Split(opened.Text, "\n")
	if len(text) < 3 || text[0] != verifier.Name() {
		return fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(text[1], 10, 64)
	if err != nil {
		return err
	}
	root, err := hashOf(text[2])
	if err != nil {
		return err
	}
	return tlog.CheckRecord(path, size, root, index, tlog.RecordHash(entry))
}

func main() {
	entry, err := os.ReadFile(os.Args[2])
	if err == nil {
		var proof []byte
		if proof, err = io.ReadAll(os.Stdin); err == nil {
			err = check(os.Args[1], entry, proof)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
