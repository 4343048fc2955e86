package sim

import (
	"fmt"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

// want is what a VM's labels come to under the built-in catalogue, and how they say it.
type want struct {
	name    string // of its group
	server  tier   // of the host
	storage tier   // of a disk that asks for nothing else
	trust   fleet.Trust
	level   string // in the label
	ceiling string // of the label's key
	reason  string
	// overrides beside those of groups
	overrides map[string]string
	queues    fleet.Queues
	rate      fleet.Mbps
	iops      fleet.IOPS
	spread    bool
	affinity  bool
	dmz       bool
	unread    bool
	keyID     string
	issuer    string
}

// The keys of the imaginary trust file: the second may grant silver at most.
const (
	opsKey = "3f9a1c55d0e2b874"
	devKey = "a81b6e07c94f2d13"
)

// want decides on what one VM (or group) needs. Tiers are as frequent as the hosts that have them.
func (g *generator) want() want {
	hosts := 0
	for t := range tiers {
		hosts += len(g.byTier[t])
	}
	if hosts == 0 {
		return want{trust: fleet.TrustNone}
	}
	t, r := bronze, g.rng.IntN(hosts)
	for r >= len(g.byTier[t]) {
		r -= len(g.byTier[t])
		t++
	}
	w := want{server: t, storage: t, level: serverTiers[t], trust: fleet.TrustSigned, keyID: opsKey, issuer: "ops@berth.example"}
	switch t {
	case bronze:
		g.bronzeLabel(&w)
	case silver:
		g.silverLabel(&w)
	default:
		g.goldLabel(&w)
	}
	w.dmz = g.chance(5) && g.cabled[t] > 0
	g.guarantee(&w)
	return w
}

func (w *want) unsigned(level string) {
	w.trust, w.level, w.keyID, w.issuer, w.reason = fleet.TrustUnsigned, level, "", "", "no signature"
}

// bronzeLabel is all that comes to bronze: no label at all, any honest one, and labels that are not obeyed.
func (g *generator) bronzeLabel(w *want) {
	switch r := g.rng.IntN(100); {
	case r < 45:
		*w = want{trust: fleet.TrustNone}
	case r < 70:
		w.unsigned("bronze")
	case r < 90:
	case r < 93: // fast disks under a cheap server
		w.storage, w.overrides = silver, map[string]string{"storage.tier": "ssd"}
	case r < 98:
		w.trust, w.level = fleet.TrustInvalid, pick(g, "gold", "silver")
		w.reason = pick(g, "signature does not match", "label of another disk", "label expired on 2025-11-30", "key is revoked")
	default:
		*w = want{trust: fleet.TrustUnknown, unread: true}
	}
}

func (g *generator) silverLabel(w *want) {
	switch r := g.rng.IntN(100); {
	case r < 40:
	case r < 65:
		w.unsigned("silver")
	case r < 85: // more than an unsigned label may ask for
		w.unsigned("gold")
	case r < 92: // more than this key may grant
		w.level, w.ceiling, w.keyID, w.issuer = "gold", "silver", devKey, "dev@berth.example"
	case r < 96: // a fast server for a bronze VM
		w.level, w.storage, w.overrides = "bronze", bronze, map[string]string{"server.tier": "silver", "priority": "300"}
	default:
		w.overrides = map[string]string{"security.class": "standard", "nic.queues": "1", "nic.class": "2"}
		w.queues = 1
	}
}

func (g *generator) goldLabel(w *want) {
	w.queues = 2
	switch r := g.rng.IntN(100); {
	case r < 70:
	case r < 80:
		w.overrides, w.queues = map[string]string{"nic.class": "3", "nic.queues": "4"}, 4
	case r < 90:
		w.overrides = map[string]string{"priority": "1000"}
	default:
		w.overrides = map[string]string{"security.class": "strict"}
	}
}

// label is the label of disk i of a VM, and the tier of the pool that it needs. Disks after the first have the same
// label, or none and follow the VM, or one of their own that is content with less.
func (g *generator) label(w *want, i int, size fleet.Bytes) (fleet.Label, tier) {
	if w.trust == fleet.TrustNone || w.trust == fleet.TrustUnknown || i > 0 && w.trust == fleet.TrustInvalid {
		l := fleet.Label{Trust: w.trust}
		switch {
		case w.trust == fleet.TrustInvalid, i > 0 && w.unread:
			l.Trust = fleet.TrustNone
		case w.unread:
			l.Reason = "image could not be read"
		}
		return l, bronze
	}
	if i > 0 && g.chance(45) {
		// The disk gets the storage tier of the VM's level, not of the first disk's overrides.
		return fleet.Label{Trust: fleet.TrustNone}, levelStorage(w)
	}
	doc := &label.Document{
		Level: w.level, Disk: label.Binding{UUID: g.uuid(), Size: size}, Serial: uint32(1 + g.rng.IntN(5)), Issuer: w.issuer,
		Issued: taken.Add(-time.Duration(1+g.rng.IntN(400*24)) * time.Hour),
	}
	need := w.storage
	if i > 0 && w.trust == fleet.TrustSigned && g.chance(20) {
		doc.Level, need = "bronze", bronze
	} else {
		doc.Overrides = g.overrides(w)
	}
	l := fleet.Label{
		Trust: w.trust, Document: doc, Serial: doc.Serial, KeyID: w.keyID, Issuer: w.issuer, Ceiling: w.ceiling, Reason: w.reason,
	}
	if w.trust == fleet.TrustInvalid {
		need = bronze
	}
	return l, need
}

// levelStorage is the storage tier of the level that w's label comes to.
func levelStorage(w *want) tier {
	if w.level == serverTiers[bronze] {
		return bronze
	}
	return w.server
}

func (g *generator) overrides(w *want) map[string]string {
	o := map[string]string{}
	for k, v := range w.overrides {
		o[k] = v
	}
	if w.spread {
		o["spread.group"] = w.name
	}
	if w.affinity {
		o["affinity.group"] = w.name
	}
	if w.rate > 0 {
		o["nic.rate"] = fmt.Sprint(int64(w.rate))
	}
	if w.iops > 0 {
		o["storage.iops"] = fmt.Sprint(int64(w.iops))
	}
	if len(o) == 0 {
		return nil
	}
	return o
}
