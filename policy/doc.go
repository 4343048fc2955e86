// Package policy is what is wanted: the catalogue of service levels and the site's rules (levels.yaml), and
// what follows from them for each VM of a snapshot.
//
// A catalogue maps the name in a label to requirements; rules written in CEL give each host, pool and NIC
// its tier or class. Resolve joins a catalogue with a snapshot into a Problem: per VM a Requirement, per host
// and pool a rank. Nothing after it sees a label or a rule again.
//
// Trust is applied here: an unsigned label never raises a VM above the catalogue's unsigned ceiling, a signed
// one never above its key's, an invalid one is not obeyed. What was changed for that is said in
// Requirement.Notes.
//
// The package is pure. A catalogue is immutable after Parse.
package policy
