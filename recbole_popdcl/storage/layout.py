"""Names of the files in the folders of runs, of searches and of comparisons."""

# A run.
CONFIG = "config.yaml"  # its resolved properties, written when the training begins
METRICS = "metrics.jsonl"  # a line an epoch
CHECKPOINT = "checkpoint.pt"  # weights of the best epoch
LAST = "last.pt"  # everything needed to go on after the last validation
PER_USER = "per_user.parquet"  # accuracy of every user
LOG = "run.log"
TENSORBOARD = "tensorboard"
EVENTS = "events.json"  # ids of the run in W&B and MLflow
RESULT = "result.json"  # written last; a search has one too

# Made from the weights of a finished run when a report asks for them (experiment/analysis.py).
FRONTIER = "frontier.csv"
MARGINS = "margins.csv"
POPULARITY = "popularity.csv"
SAMPLED_USERS = "sampled_users.csv"  # histories and lists of a few users
ANALYSES = (FRONTIER, MARGINS, POPULARITY, SAMPLED_USERS)

# A search.
SEARCH = "search.yaml"  # what was asked, written when it begins
TRIALS = "trials.csv"  # a row a trial
BEST_SETTINGS = "best.yaml"  # a config file for ``run``
TRIAL_RUN = "run"  # folder of the run within that of its trial

# A comparison, for each data set; the frontiers of its runs stand in a FRONTIER of its own.
COMPARISON = "comparison.csv"
INTERVALS = "intervals.csv"
SIGNIFICANCE = "significance.csv"
AGREEMENT = "agreement.csv"
