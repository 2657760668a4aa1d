"""What studies are made of besides their science: `docs/your-own-study.md` shows a study that uses it.

| module | gives | for |
|---|---|---|
| `checks` | `counts`, `shares`, `sizes`, `choices`, ... | settings |
| `estimates` | `num_images` | what `robustray show` says |
| `images` | `Opened` models and data, tried on each other; `settled` | the door, the run |
| `draws` | `chosen` | the run |
| `rules`, `claims` | `above`, `below`, `within`, `equivalent`; `claim`, `Repeats` for claims over seeds | claims |
| `frames` | `at`, `columns`, `shown` | tables |
| `words` | `listed`, `plural`, `slug` | captions, names |
| `compose` | `compose` | what the study returns |
| `compare` | `comparison` of `Compared` | `robustray compare` |

Of these, settings modules may import `checks`, `estimates` and `sizes` only: the others load NumPy and SciPy.
"""
