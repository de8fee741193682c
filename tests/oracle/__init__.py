"""A second opinion: what a dose card ought to say, worked out another way, for any number of random orders.

Written from the labels alone. It shares no code and no data with the product: the tables stand here column by column
as the labels print them, amounts are counted per week, a band is found by the creatinine a patient may have in it and
no longer, and all arithmetic is exact. Only `run` knows the product.

`labels` what each drug's label says of the kidneys, one function per drug; `cases` orders and patients, random and at
every edge; `predict` the verdict; `others` all of these for doses that hang on something else; `request` a case as a
hook call; `run` both opinions side by side.
"""
