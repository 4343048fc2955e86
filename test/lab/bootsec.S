# 512-byte guest: prints GUEST-READY + the disk label (sector 1) on COM1, resumes a counter kept in sector 8,
# then about once a second increments it, writes it back with INT13h/43h and prints "HB xxxxxxxx ok|FAIL".
# An ACPI power button (virsh shutdown) or 'q' on the serial port powers the VM off (PIIX4 PM1a: status 0x600,
# enable 0x602, control 0x604).
.code16
.globl _start
_start: ljmp $0,$1f
1:  cli; xorw %ax,%ax; movw %ax,%ds; movw %ax,%es; movw %ax,%ss; movw $0x7c00,%sp; sti
    movb %dl,drive
    movw $hello,%si; call puts
    movl $1,lba; movb $0x42,%ah; call disk      # label sector
    movb $0,0x903f
    movw $0x9000,%si; call puts
    movw $res,%si; call puts
    movl $8,lba; movb $0x42,%ah; call disk      # counter sector (binary LE32 at offset 0)
    movl 0x9000,%ebx; call hex; call crlf
    movw $0x602,%dx; movw $0x100,%ax; outw %ax,%dx   # power button enabled
loop:
    incl %ebx; movl %ebx,0x9000
    movb $0x43,%ah; call disk
    pushf
    movw $hb,%si; call puts; call hex
    popf
    movw $ok,%si; jnc 2f; movw $fail,%si
2:  call puts; call crlf
    movw 0x46c,%bp; addw $18,%bp                # BIOS ticks, 18.2/s
3:  hlt
    movw $0x600,%dx; inw %dx,%ax; testb $1,%ah; jnz off
    movw $0x3fd,%dx; inb %dx,%al; testb $1,%al; jz 4f
    movw $0x3f8,%dx; inb %dx,%al; cmpb $'q',%al; jne 4f
off: movw $0x604,%dx; movw $0x2000,%ax; outw %ax,%dx
4:  movw 0x46c,%ax; cmpw %bp,%ax; js 3b
    jmp loop
disk:                                           # ah = 42 read / 43 write ; uses dap
    pushl %ebx; movw $1,dap+2; xorb %al,%al; movb drive,%dl; movw $dap,%si; int $0x13; popl %ebx; ret
putc: pushw %dx; pushw %ax; movw $0x3fd,%dx
5:  inb %dx,%al; testb $0x20,%al; jz 5b; popw %ax; movw $0x3f8,%dx; outb %al,%dx; popw %dx; ret
puts: lodsb; orb %al,%al; jz 6f; call putc; jmp puts
6:  ret
crlf: movb $13,%al; call putc; movb $10,%al; jmp putc
hex: movl %ebx,%ecx; movw $8,%di
7:  roll $4,%ecx; movb %cl,%al; andb $15,%al; addb $'0',%al; cmpb $'9',%al; jbe 8f; addb $39,%al
8:  call putc; decw %di; jnz 7b; ret
hello: .asciz "GUEST-READY label="
res:   .asciz " counter="
hb:    .asciz "HB "
ok:    .asciz " ok"
fail:  .asciz " FAIL"
drive: .byte 0x80
.balign 4
dap:   .byte 16,0; .word 1; .word 0x9000; .word 0
lba:   .quad 8
.org 510
.word 0xaa55
