/* What the host says to the monitor: frames in, over the UART of the secure world.
 *
 * protocol.py describes a frame; its numbers arrive here through constants.h.
 */
#include "uart.h"

#define STALE_MOST 4096
#define REQUEST_LENGTH FRAME_LENGTH_REQUEST /* head, tag 2, slot 2, arg 3, CRC */

static u8 inbox[REQUEST_LENGTH];
static u32 inbox_used;

static void obey(void)
{
    u8 crc = 0;
    for (u32 i = 0; i < REQUEST_LENGTH - 1; i++)
        crc = report_crc(crc, inbox[i]);
    if (crc != inbox[REQUEST_LENGTH - 1]) {
        report_event(EVENT_GARBLED);
        return;
    }
    u32 tag = inbox[1] | (u32)inbox[2] << 7;
    u32 slot = inbox[3] | (u32)inbox[4] << 7;
    u32 arg = inbox[5] | (u32)inbox[6] << 7 | (u32)inbox[7] << 14;
    u32 status = STATUS_OK, value = 0;
    if (!slots_request(inbox[0] & 0x7f, slot, arg, tag, &status, &value))
        report_reply(tag, status, value);
}

void link_drain(void)
{
    while (!(R32(UART_FR) & FR_RXFE)) {
        u8 byte = (u8)R32(UART_DR);
        if (byte & PROTOCOL_HEAD_BIT) {
            if (inbox_used)
                report_event(EVENT_GARBLED);
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
