/* SPDX-License-Identifier: MIT */
/* crew_starmap: arguments that lie in several arrays. Each row of a table of loans becomes one struct; the interest comes
 * from another array, and the payment is one value for all.
 *
 *     $ ./02_starmap
 *       loan  rate %  months  interest
 *       1000    3.50       6      8.86
 *       5000    4.25      27    244.67
 *      20000    2.90     115   2921.35
 *      90000    5.10       -  never paid off */
#include <crewpool/crewpool.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOANS = 4, MONTHS_MAX = 1200 };

struct loan {
    int64_t cents;
    int32_t rate;    /* in hundredths of a per cent a year */
    int64_t payment; /* cents a month */
};

struct plan {
    int months; /* 0: the payment does not even cover the interest */
    int64_t interest;
};

CREW_JOB(pay_off, struct loan, struct plan)
{
    int64_t debt = arg->cents;

    *result = (struct plan){0, 0};
    while (debt > 0 && result->months < MONTHS_MAX) {
        int64_t interest = (debt * arg->rate + 60000) / 120000;

        debt += interest - arg->payment;
        result->interest += interest;
        result->months++;
    }
    if (debt > 0)
        result->months = 0;
    return 0;
}

static void print_plan(int64_t cents, int32_t rate, const struct plan *plan)
{
    printf("%6" PRId64 "  %6.2f", cents / 100, rate / 100.0);
    if (plan->months > 0)
        printf("  %6d  %8.2f\n", plan->months, (double)plan->interest / 100.0);
    else
        printf("       -  never paid off\n");
}

int main(void)
{
    static const int64_t cents[LOANS] = {100000, 500000, 2000000, 9000000};
    static const int32_t rates[LOANS] = {350, 425, 290, 510};
    static const int64_t payment = 20000;
    const crew_column columns[] = {
        CREW_COLUMN(struct loan, cents, cents),
        CREW_COLUMN(struct loan, rate, rates),
        CREW_CONSTANT(struct loan, payment, &payment),
    };
    struct plan plans[LOANS];
    crew_error error = {.message = "no pool"};
    crew_status status;

    CREW_AUTO_POOL(pool);
    status = crew_pool_create(&pool, NULL);
    if (status == CREW_OK)
        status = crew_starmap(pool, &pay_off, columns, 3, LOANS, plans, CREW_CALL(.error = &error));
    if (status != CREW_OK) {
        fprintf(stderr, "%s: %s\n", crew_status_name(status), error.message);
        return EXIT_FAILURE;
    }
    puts("  loan  rate %  months  interest");
    for (int i = 0; i < LOANS; i++)
        print_plan(cents[i], rates[i], &plans[i]);
    return EXIT_SUCCESS;
}
