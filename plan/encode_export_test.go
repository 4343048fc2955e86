package plan

// Sealed is the text that the ID of p is the digest of.
func Sealed(p *Plan) ([]byte, error) {
	c := *p
	c.ID = ""
	return encode(&c)
}
