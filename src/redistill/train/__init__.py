"""The one loop, its learners and its teacher."""
