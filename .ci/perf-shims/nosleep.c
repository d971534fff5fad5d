/* For Ceph's perf_msgr: it calls usleep(0) for each message, which sleeps for the timer slack of the
   thread, so that the sleep would be measured. Other sleeps stay: it gives its connections a second
   to be made. */
#include <time.h>
#include <unistd.h>

int usleep(useconds_t usec)
{
	struct timespec time = { usec / 1000000, usec % 1000000 * 1000L };

	return usec ? nanosleep(&time, NULL) : 0;
}
