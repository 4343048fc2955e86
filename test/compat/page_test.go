package compat_test

const head = `# What keeps a label, and what loses it

Made by ` + "`go test ./test/compat -run Compatibility -update`" + ` and checked by every test run, as far as the tools are installed: each operation
is done by the real tool, to a labelled image and to its unlabelled twin, and what a guest sees in both is compared.

- *keeps*: the label is there afterwards, and is the same. *reads*: the tool only looks, and says of both images the same.
- *loses*: it works, and the label is gone. *refuses*: it works with the twin, and not with the labelled image.
- –: not for this format, or the tool refuses the twin as well.

The columns are the places of a label: see [label.md](label.md). "VHD footer" is the opt-in ` + "`--vhd-footer`" + `; "VHD sidecar" and "raw" have it
in the file NAME.berth and in the attribute user.berth.label.

`

const foot = `
What to make of it:

- Whatever *converts* loses a label: use ` + "`berth image convert`" + `, which carries it. So do virt-v2v, ` + "`virsh vol-clone`" + ` and a clone made by
  VirtualBox, since they convert; after them ` + "`berth label export`" + ` and ` + "`import`" + ` bring it over.
- A tool that copies files has to take the sidecar NAME.berth along, or the extended attributes.
- After a resize the label is there, and does not count: it is bound to the disk's size. Set it anew (` + "`berth label verify`" + ` says so).
- An overlay has no label of its own and inherits that of the image below it.
`
