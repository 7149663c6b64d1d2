// Judges a cosigned checkpoint: the note with Go's own golang.org/x/mod/sumdb/note, the cosignature as
// C2SP tlog-cosignature describes it, which that package leaves to others.
//
// usage: judge NOTE LOG_VKEY WITNESS_VKEY; exit 0: accepted, 1: refused, 2: cannot judge
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const algorithm = 4

type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

func (c *cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(signature), text)
	return ed25519.Verify(c.key, []byte(message), signature[8:])
}

func newCosigner(vkey string) (*cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not of the form name+id+key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != algorithm {
		return nil, errors.New("not an Ed25519 cosigner")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash := binary.BigEndian.Uint32(sum[:])
	if id, err := strconv.ParseUint(parts[1], 16, 32); err != nil || uint32(id) != hash {
		return nil, errors.New("the id is not that of the key")
	}
	return &cosigner{parts[0], hash, key[1:]}, nil
}

func main() {
	if len(os.Args) != 4 {
		fatal(errors.New("usage: judge NOTE LOG_VKEY WITNESS_VKEY"))
	}
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		fatal(err)
	}
	log, err := note.NewVerifier(os.Args[2])
	if err != nil {
		fatal(err)
	}
	witness, err := newCosigner(os.Args[3])
	if err != nil {
		fatal(err)
	}
	opened, err := note.Open(data, note.VerifierList(log, witness))
	if err != nil {
		refuse(err)
	}
	if len(opened.Sigs) != 2 || len(opened.UnverifiedSigs) != 0 {
		refuse(fmt.Errorf("%d signatures verified", len(opened.Sigs)))
	}
	fmt.Println("accepted")
}

func refuse(err error) {
	fmt.Println("refused:", err)
	os.Exit(1)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
