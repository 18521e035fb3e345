/* The host's end of the line: frames over the second PL011, which is the secure world's.
 *
 * protocol.py describes a frame; its numbers arrive here through constants.h.
 */
#include "monitor.h"

#define UART VIRT_UART1_BASE
#define UART_DR (UART + 0x00)
#define UART_FR (UART + 0x18)
#define UART_IBRD (UART + 0x24)
#define UART_LCRH (UART + 0x2c)
#define UART_CR (UART + 0x30)
#define UART_IMSC (UART + 0x38)
#define UART_ICR (UART + 0x44)
#define FR_RXFE 0x10
#define FR_TXFF 0x20
#define LCRH_8N1_FIFO 0x70
#define CR_ON 0x301 /* RXE, TXE, UARTEN */
#define STALE_MOST 4096
#define INT_RX 0x50 /* a byte waits, or has waited too long */

#define HEAD 0x80
#define REQUEST_LENGTH FRAME_LENGTH_REQUEST /* head, tag 2, slot 2, arg 3, CRC */

static u8 inbox[REQUEST_LENGTH];
static u32 inbox_used;
static u8 outbox_crc;

static u8 crc_step(u8 crc, u32 byte)
{
    for (int bit = 7; bit >= 0; bit--) {
        u32 top = (u32)(crc >> 6) ^ (byte >> bit & 1);
        crc = (u8)(crc << 1 & 0x7f);
        if (top)
            crc ^= PROTOCOL_CRC_POLY;
    }
    return crc;
}

static void put(u32 byte)
{
    while (R32(UART_FR) & FR_TXFF)
        ;
    R32(UART_DR) = byte;
    outbox_crc = crc_step(outbox_crc, byte);
}

static void put_number(u64 value, u32 groups)
{
    for (; groups; groups--, value >>= 7)
        put(value & 0x7f);
}

static void begin(u32 kind)
{
    outbox_crc = 0;
    put(HEAD | kind);
}

static void finish(void)
{
    put(outbox_crc);
}

/* Field widths of an event, in 7-bit groups, ended by 0. */
static const u8 *layout(u32 event)
{
    static const struct {
        u8 event, widths[8];
    } table[] = {EVENT_LAYOUTS};
    for (u32 i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].event == event)
            return table[i].widths;
    return table[0].widths + 7; /* none: no fields */
}

void report_fields(u32 event, const u64 *values)
{
    begin(event);
    for (const u8 *width = layout(event); *width; width++, values++)
        put_number(*values, *width);
    finish();
}

void report(u32 event)
{
    report_fields(event, 0);
}

void report_slot(u32 event, u32 slot)
{
    u64 value = slot;
    report_fields(event, &value);
}

void link_reply(u32 tag, u32 status, u32 value)
{
    begin(PROTOCOL_REPLY);
    put_number(tag, 2);
    put_number(status, 1);
    put_number(value, 5);
    finish();
}

static void obey(void)
{
    u8 crc = 0;
    for (u32 i = 0; i < REQUEST_LENGTH - 1; i++)
        crc = crc_step(crc, inbox[i]);
    if (crc != inbox[REQUEST_LENGTH - 1]) {
        report(EVENT_GARBLED);
        return;
    }
    u32 tag = inbox[1] | (u32)inbox[2] << 7;
    u32 slot = inbox[3] | (u32)inbox[4] << 7;
    u32 arg = inbox[5] | (u32)inbox[6] << 7 | (u32)inbox[7] << 14;
    u32 status = STATUS_OK, value = 0;
    if (!slots_request(inbox[0] & 0x7f, slot, arg, tag, &status, &value))
        link_reply(tag, status, value);
}

void link_drain(void)
{
    while (!(R32(UART_FR) & FR_RXFE)) {
        u8 byte = (u8)R32(UART_DR);
        if (byte & HEAD) {
            if (inbox_used)
                report(EVENT_GARBLED);
            inbox_used = 0;
        } else if (!inbox_used) {
            continue; /* the rest of a frame whose head is lost */
        }
        inbox[inbox_used++] = byte;
        if (inbox_used == REQUEST_LENGTH) {
            inbox_used = 0;
            obey();
        }
    }
}

void link_reset(void)
{
    inbox_used = 0;
    R32(UART_CR) = 0;
    R32(UART_IMSC) = 0;
    R32(UART_IBRD) = 1;
    R32(UART_LCRH) = LCRH_8N1_FIFO;
    R32(UART_CR) = CR_ON;
    /* Read off what was meant for the time before the reset; turning the FIFO on may have
     * emptied it, but QEMU 7.2 then still says through RXFE that a byte is there. Read once
     * in any case: QEMU looks for further input only when a byte is taken, and the one for
     * which it stopped is gone with the FIFO's old contents (hw/char/pl011.c). */
    u32 n = 0;
    do
        (void)R32(UART_DR);
    while (++n < STALE_MOST && !(R32(UART_FR) & FR_RXFE));
    R32(UART_ICR) = 0x7ff;
}

/* From here on a byte of the host interrupts vCPU 0. */
void link_listen(void)
{
    R32(UART_IMSC) = INT_RX;
}
