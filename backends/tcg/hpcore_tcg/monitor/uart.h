/* The second PL011, which is the secure world's: report.c writes to it, link.c reads. */
#ifndef UART_H
#define UART_H

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
#define INT_RX 0x50 /* a byte waits, or has waited too long */

#endif
