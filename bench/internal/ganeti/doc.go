// Package ganeti drives Ganeti's tools, as Debian's ganeti-htools installs them: hail, which places an instance, and hbal,
// which balances a cluster. Both read the cluster as text, and are one process for each call.
package ganeti
