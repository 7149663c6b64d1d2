// Judges a log written by Muniment with Go's own implementation (golang.org/x/mod/sumdb), which
// shares no line with it. Its directory is what C2SP tlog-tiles describes, with proofs beside it;
// see ../__init__.py.
//
// usage: judge DIRECTORY VKEY; exit 0: accepted, 1: refused, 2: cannot judge
package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: judge DIRECTORY VKEY")
		os.Exit(2)
	}
	verifier, err := note.NewVerifier(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "not a key:", err)
		os.Exit(2)
	}
	j := &judge{directory: os.Args[1], verifier: verifier}
	if err := j.judge(); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Printf("accepted: %d entries, %d inclusion proofs, %d consistency proofs\n",
		len(j.leaves), j.inclusions, j.consistencies)
}

type judge struct {
	directory string
	verifier  note.Verifier
	head      tlog.Tree
	hashes    []tlog.Hash // of the whole tree, in the order of tlog.StoredHashIndex
	leaves    []tlog.Hash

	inclusions, consistencies int
}

// 1. the signed head; 2. every entry, and the tree made from them; 3. every tile; 4. inclusion
// proofs; 5. growth from older heads.
//
// The tree is made anew because tlog.TileHashReader is not enough: in Debian's x/mod 0.7 it leaves
// some full tiles unchecked against their parents (mended upstream between 0.36 and 0.42).
func (j *judge) judge() error {
	signed, err := j.read("checkpoint")
	if err != nil {
		return err
	}
	if j.head, err = j.open(signed); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := j.entries(); err != nil {
		return err
	}
	if err := j.tiles(); err != nil {
		return err
	}
	if err := j.each("proofs/*.tlog-proof", j.inclusion); err != nil {
		return err
	}
	return j.each("growth/*.add-checkpoint", j.consistency)
}

// open verifies the signature and reads the three lines of C2SP tlog-checkpoint.
func (j *judge) open(signed []byte) (tlog.Tree, error) {
	opened, err := note.Open(signed, note.VerifierList(j.verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != j.verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	size, err := decimal(lines[1])
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// entries makes the tree from the entry bundles and compares its root with the signed one.
func (j *judge) entries() error {
	for start := int64(0); start < j.head.N; start += width {
		bundle, err := j.read(path(tileAt(-1, start/width, j.head.N-start)))
		if err != nil {
			return err
		}
		for n := start; n < j.head.N && n < start+width; n++ {
			if len(bundle) < 2 || len(bundle) < 2+(int(bundle[0])<<8|int(bundle[1])) {
				return fmt.Errorf("entry %d: the bundle is cut short", n)
			}
			end := 2 + (int(bundle[0])<<8 | int(bundle[1]))
			added, err := tlog.StoredHashes(n, bundle[2:end], j)
			if err != nil {
				return err
			}
			j.hashes = append(j.hashes, added...)
			j.leaves = append(j.leaves, added[0])
			bundle = bundle[end:]
		}
		if len(bundle) > 0 {
			return fmt.Errorf("bytes after the last entry of the bundle from %d", start)
		}
	}
	root, err := tlog.TreeHash(j.head.N, j)
	if err == nil && root != j.head.Hash {
		err = errors.New("the entries give another root")
	}
	return err
}

// tiles compares every tile with the one that the entries give.
func (j *judge) tiles() error {
	for level := 0; j.head.N>>(height*level) > 0; level++ {
		count := j.head.N >> (height * level)
		for n := int64(0); n*width < count; n++ {
			tile := tileAt(level, n, count-n*width)
			published, err := j.read(path(tile))
			if err != nil {
				return err
			}
			made, err := tlog.ReadTileData(tile, j)
			if err != nil {
				return err
			}
			if !bytes.Equal(published, made) {
				return fmt.Errorf("%s does not hold the hashes of its entries", path(tile))
			}
		}
	}
	return nil
}

// inclusion checks a C2SP tlog-proof against the entry at its index.
func (j *judge) inclusion(data []byte) error {
	head, signed, found := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a tlog-proof")
	}
	index, err := decimal(strings.TrimPrefix(lines[1], "index "))
	if err != nil {
		return err
	}
	proof, err := hashes(lines[2:])
	if err != nil {
		return err
	}
	tree, err := j.open([]byte(signed))
	if err != nil {
		return err
	}
	if index >= int64(len(j.leaves)) {
		return errors.New("proves an entry that is not there")
	}
	j.inclusions++
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, j.leaves[index])
}

// consistency checks what a C2SP tlog-witness is sent, against the older signed checkpoint.
func (j *judge) consistency(data []byte) error {
	head, signed, found := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || !strings.HasPrefix(lines[0], "old ") {
		return errors.New("not a request of tlog-witness")
	}
	old, err := decimal(strings.TrimPrefix(lines[0], "old "))
	if err != nil {
		return err
	}
	proof, err := hashes(lines[1:])
	if err != nil {
		return err
	}
	tree, err := j.open([]byte(signed))
	if err != nil {
		return err
	}
	if tree.N > j.head.N {
		return errors.New("the older head is beyond the newest")
	}
	root, err := tlog.TreeHash(tree.N, j)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the first %d entries give another root", tree.N)
	}
	if old == 0 {
		if len(proof) > 0 {
			return errors.New("growth from nothing needs no proof")
		}
		return nil
	}
	signed0, err := j.read(fmt.Sprintf("checkpoints/%d", old))
	if err != nil {
		return err
	}
	before, err := j.open(signed0)
	if err != nil {
		return err
	}
	if before.N != old {
		return errors.New("the older checkpoint is of another size")
	}
	j.consistencies++
	return tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash)
}

// ReadHashes makes the judge a tlog.HashReader over what it has computed itself.
func (j *judge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(j.hashes)) {
			return nil, errors.New("a hash beyond the tree")
		}
		found[i] = j.hashes[index]
	}
	return found, nil
}

func (j *judge) read(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(j.directory, filepath.FromSlash(name)))
}

func (j *judge) each(pattern string, check func([]byte) error) error {
	files, err := filepath.Glob(filepath.Join(j.directory, filepath.FromSlash(pattern)))
	if err != nil {
		return err
	}
	sort.Strings(files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil {
			err = check(data)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

func tileAt(level int, n, left int64) tlog.Tile {
	if left > width {
		left = width
	}
	return tlog.Tile{H: height, L: level, N: n, W: int(left)}
}

// path is Go's name of a tile (tile/8/0/001, tile/8/data/001) as C2SP tlog-tiles writes it.
func path(tile tlog.Tile) string {
	name := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
	if tile.L == -1 {
		name = "entries/" + strings.TrimPrefix(name, "data/")
	}
	return "tile/" + name
}

func decimal(text string) (int64, error) {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || number < 0 || strconv.FormatInt(number, 10) != text {
		return 0, fmt.Errorf("%q is not a canonical number", text)
	}
	return number, nil
}

func hashes(lines []string) ([]tlog.Hash, error) {
	var parsed []tlog.Hash
	for _, line := range lines {
		raw, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(raw) != tlog.HashSize {
			return nil, fmt.Errorf("%q is not a hash", line)
		}
		var hash tlog.Hash
		copy(hash[:], raw)
		parsed = append(parsed, hash)
	}
	return parsed, nil
}
