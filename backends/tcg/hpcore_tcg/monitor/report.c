/* What the monitor says to the host: frames out, over the UART of the secure world.
 *
 * protocol.py describes a frame; its numbers arrive here through constants.h.
 */
#include "uart.h"

static u8 outbox_crc;

/* The CRC of a frame, in or out, with one more byte. */
u8 report_crc(u8 crc, u32 byte)
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
    outbox_crc = report_crc(outbox_crc, byte);
}

static void put_number(u64 value, u32 groups)
{
    for (; groups; groups--, value >>= 7)
        put(value & 0x7f);
}

static void begin(u32 kind)
{
    outbox_crc = 0;
    put(PROTOCOL_HEAD_BIT | kind);
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

void report_event(u32 event)
{
    report_fields(event, 0);
}

void report_slot(u32 event, u32 slot)
{
    u64 value = slot;
    report_fields(event, &value);
}

void report_reply(u32 tag, u32 status, u32 value)
{
    begin(PROTOCOL_REPLY);
    put_number(tag, 2);
    put_number(status, 1);
    put_number(value, 5);
    finish();
}
